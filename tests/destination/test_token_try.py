"""Requests that bear access tokens: what becomes of an event whose token the API refuses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from shipper.clock import SystemClock
from shipper.config.destination import AnswersSettings, RetrySettings
from shipper.config.secrets import Secrets
from shipper.destination import Destination
from shipper.policy.outcome import Fault, Kind, Reply, classify
from tests.destination.http_kind import OAUTH, an_event, asking, erp, opened, sent
from tests.destination.servers import ACCEPTED, Request, Server, Talk, serving
from tests.destination.token_endpoints import TokenEndpoint, granting, saying
from tests.destination.ways import Way, each_of_ours, each_way, words
from tests.laps import laps


class Ahead(SystemClock):
    """A clock that a test sets forward."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Return the time, with what the test has added."""
        return super().monotonic() + self.seconds


class Api:
    """An API that takes some tokens, and echoes what it was sent when it refuses."""

    def __init__(self, *taken: str) -> None:
        self.taken = {f"Bearer {token}" for token in taken}
        self.server = Server(0, False)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.refusal = 401
        self.clock = Ahead()
        """The clock of the destination."""

    @property
    def seen(self) -> list[str]:
        """The tokens that came, in their order."""
        return [one.headers["authorization"].removeprefix("Bearer ") for one in self.requests]

    @property
    def requests(self) -> list[Request]:
        """What it was asked."""
        return self.server.requests

    async def __call__(self, talk: Talk) -> None:
        """Answer the requests of a connection."""
        while True:
            asked = await talk.request()
            self.asked.set()
            await self.gate.wait()
            if (word := asked.headers["authorization"]) in self.taken:
                await talk.say(ACCEPTED)
            else:
                await talk.say(saying(self.refusal, {"unknown": word}))


@asynccontextmanager
async def scene(
    way: Way, api: Api, endpoint: TokenEndpoint, timeout: float = 10.0, in_flight: int = 64
) -> AsyncIterator[Destination]:
    """Open a destination whose requests bear the endpoint's tokens."""
    async with serving(api) as api.server, granting(endpoint):
        settings = erp(
            api.server.url,
            way.transport,
            timeout=timeout,
            max_in_flight=in_flight,
            **asking(endpoint.url),
        )
        async with opened(settings, api.clock) as destination:
            yield destination


def each(body: Callable[[Way], Awaitable[None]]) -> Callable[[Way], None]:
    """Run a test in the loop of each way."""

    def run(way: Way) -> None:
        with asyncio.Runner(loop_factory=way.loop) as runner:
            runner.run(body(way))  # type: ignore[arg-type]

    run.__doc__ = body.__doc__
    return run


async def used_up(destination: Destination, api: Api, endpoint: TokenEndpoint) -> None:
    """Send once, and let so much time pass that the token isn't new any more."""
    assert words(await sent(destination, OAUTH)) == "202"
    api.clock.seconds += 1.5


@each_way
@each
async def test_a_revoked_token_is_replaced_within_the_try(way: Way) -> None:
    """Without an outcome in between; the same event, the same bytes (CloudTAK#1436)."""
    api, endpoint = Api("t1"), TokenEndpoint()
    async with scene(way, api, endpoint) as destination:
        await used_up(destination, api, endpoint)
        api.taken = {"Bearer t2"}
        assert words(await sent(destination, OAUTH, an_event("e-2"))) == "202"
        assert words(await sent(destination, OAUTH, an_event("e-3"))) == "202"
    assert api.seen == ["t1", "t1", "t2", "t2"]
    assert [one.headers["idempotency-key"] for one in api.requests] == ["e-1", "e-2", "e-2", "e-3"]
    assert api.requests[1].body == api.requests[2].body
    assert len(endpoint.requests) == 2


@each_way
@each
async def test_a_second_refusal_is_the_answer(way: Way) -> None:
    """And the token that the API echoes isn't in it."""
    api, endpoint = Api(), TokenEndpoint()
    endpoint.answer = lambda number: saying(200, {"access_token": f"canary-token-{number}"})
    async with scene(way, api, endpoint) as destination:
        answer = await sent(destination, OAUTH)
        assert isinstance(answer, Reply)
        assert answer.status == 401
        assert b"****" in answer.body
        assert b"canary" not in answer.body
        assert classify(answer, 0.0).kind is Kind.MISCONFIGURED
        assert len(api.requests) <= 2


@each_way
@each
async def test_many_that_are_refused_at_once_share_one_new_token(way: Way) -> None:
    """However late some of them hear it (friggframework/frigg#636)."""
    api, endpoint = Api("t1"), TokenEndpoint()
    async with scene(way, api, endpoint) as destination:
        await used_up(destination, api, endpoint)
        api.taken = {"Bearer t2"}
        events = [an_event(f"m-{number}") for number in range(40)]
        answers = await asyncio.gather(*(sent(destination, OAUTH, one) for one in events))
        assert {words(answer) for answer in answers} == {"202"}
    assert len(endpoint.requests) == 2


@each_way
@each
async def test_without_a_token_nothing_is_sent(way: Way) -> None:
    """dograh-hq/dograh#612: the request went without one, and the 401 was final."""
    api, endpoint = Api("t1"), TokenEndpoint()
    for status, kind in ((500, Kind.TRANSIENT), (400, Kind.MISCONFIGURED)):
        endpoint.answer = lambda _, status=status: saying(status, {})
        async with scene(way, api, endpoint) as destination:
            answer = await sent(destination, OAUTH)
            assert isinstance(answer, Fault)
            assert answer.sent == "no"
            assert classify(answer, 0.0).kind is kind
        assert api.requests == []


@each_way
@each
async def test_no_new_token_after_a_refusal_is_the_links_fault(way: Way) -> None:
    """The API has refused the event's request, so it doesn't have the event."""
    api, endpoint = Api("t1"), TokenEndpoint()
    async with scene(way, api, endpoint) as destination:
        await used_up(destination, api, endpoint)
        api.taken = set()
        endpoint.answer = lambda _: saying(503, {})
        answer = await sent(destination, OAUTH, an_event("e-2"))
        assert isinstance(answer, Fault)
        assert (answer.kind, answer.sent) == ("token", "no")
    assert api.seen == ["t1", "t1"]


@each_way
@each
async def test_both_requests_have_one_deadline(way: Way) -> None:
    """The second one has what the first one has left over."""
    api, endpoint = Api("t1"), TokenEndpoint()
    async with scene(way, api, endpoint, timeout=1.0) as destination:
        await used_up(destination, api, endpoint)
        api.taken = {"Bearer t2"}
        endpoint.gate.clear()
        now = asyncio.get_running_loop().time
        began = now()
        answer = await sent(destination, OAUTH, an_event("e-2"))
        assert now() - began < 2.0
        assert isinstance(answer, Fault)
        assert (answer.kind, answer.sent) == ("token", "no")
    assert api.seen == ["t1", "t1"]


@each_way
@each
async def test_an_api_that_hangs_at_the_second_request_ends_with_the_deadline(way: Way) -> None:
    """It may have the event then."""
    api, endpoint = Api("t1"), TokenEndpoint()
    async with scene(way, api, endpoint, timeout=1.0) as destination:
        await used_up(destination, api, endpoint)
        api.taken = set()
        endpoint.gate.clear()
        endpoint.asked.clear()
        trying = asyncio.create_task(sent(destination, OAUTH, an_event("e-2")))
        await endpoint.asked.wait()
        api.gate.clear()
        endpoint.gate.set()
        assert words(await trying) == "timeout maybe"
    assert api.seen == ["t1", "t1", "t2"]


@each_way
@each
async def test_nothing_leaves_after_the_lease_could_end(way: Way) -> None:
    """Neither after a wait for a token, nor as the second request of a try."""
    clock = Sleeper()
    api, endpoint = Api("t1"), TokenEndpoint()
    async with serving(api) as api.server, granting(endpoint):
        settings = erp(api.server.url, way.transport, timeout=10.0, **asking(endpoint.url))
        async with opened(settings, clock) as destination:
            endpoint.gate.clear()
            lease = clock.monotonic() + 15.0
            trying = asyncio.create_task(sent(destination, OAUTH, until=lease))
            await endpoint.asked.wait()
            clock.slept = 60.0  # the machine sleeps while the token is being fetched
            endpoint.gate.set()
            assert words(await trying) == "timeout no"
            assert api.requests == []
            lease = clock.monotonic() + 15.0
            assert words(await sent(destination, OAUTH, until=lease)) == "202"
            api.taken = set()
            api.gate.clear()
            api.asked.clear()
            trying = asyncio.create_task(sent(destination, OAUTH, an_event("e-2"), until=lease))
            await api.asked.wait()
            clock.slept += 60.0  # and while the API thinks about its refusal
            api.gate.set()
            assert words(await trying) == "timeout no"
    assert api.seen == ["t1", "t1"]


class Sleeper(SystemClock):
    """A clock of a machine that sleeps now and then."""

    slept = 0.0

    def monotonic(self) -> float:
        """Return seconds, the time asleep included."""
        return super().monotonic() + self.slept


@each_way
@each
async def test_a_try_can_be_given_up_at_any_point(way: Way) -> None:
    """While it waits for a token, while it sends, and while it sends again."""
    api, endpoint = Api("t1"), TokenEndpoint()
    async with scene(way, api, endpoint) as destination:
        for wait, gate in ((endpoint.asked, endpoint.gate), (api.asked, api.gate)):
            gate.clear()
            wait.clear()
            called: list[object] = []
            under_way = destination.begin(an_event(), OAUTH, called.append)
            await wait.wait()
            under_way.cancel()
            gate.set()
            assert words(await sent(destination, OAUTH)) == "202"
            assert called == []


@each_of_ours
@each
async def test_the_second_request_waits_before_those_that_began_later(way: Way) -> None:
    """Its time is over before theirs."""
    api, endpoint = Api("t1"), TokenEndpoint()
    async with scene(way, api, endpoint, in_flight=1) as destination:
        await used_up(destination, api, endpoint)
        api.taken = {"Bearer t2"}
        api.gate.clear()
        api.asked.clear()
        trying = [asyncio.create_task(sent(destination, OAUTH, an_event("a")))]
        await api.asked.wait()
        trying += [asyncio.create_task(sent(destination, OAUTH, an_event(n))) for n in "bc"]
        await laps(1)
        api.gate.set()
        assert {words(answer) for answer in await asyncio.gather(*trying)} == {"202"}
    sequence = [one.headers["idempotency-key"] for one in api.requests][1:]
    assert sequence.index("a") == 0
    assert sequence.count("a") == 2
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("secret", ["", "mended"])
async def test_new_credentials_are_tried_at_once(secret: str) -> None:
    """The old ones were refused a moment ago, and that is remembered."""
    api, endpoint = Api("t2"), TokenEndpoint()
    endpoint.answer = lambda number: None if number > 1 else saying(401, {})
    async with serving(api) as api.server, granting(endpoint):
        settings = erp(api.server.url, **(asking(endpoint.url) | {"retry": erp("").retry}))
        async with opened(settings) as destination:
            assert words(await sent(destination, OAUTH)) == "credentials no"
            endpoint.answer = None
            wanted = Secrets(client_secret=secret) if secret else OAUTH
            answer = await sent(destination, wanted)
            assert words(answer) == ("202" if secret else "credentials no")


async def test_a_long_pause_between_tries_is_none_of_the_tokens() -> None:
    """A token isn't used after its end, a 401 drops it, and a mended endpoint is asked."""
    clock, api, endpoint = Sleeper(), Api("t1"), TokenEndpoint(60)
    async with serving(api) as api.server, granting(endpoint):
        patient = {"retry": RetrySettings(min_delay=300.0)}
        settings = erp(api.server.url, **(asking(endpoint.url) | patient))
        async with opened(settings, clock) as destination:
            assert words(await sent(destination, OAUTH)) == "202"
            api.taken = {"Bearer t2", "Bearer t3", "Bearer t5"}
            clock.slept += 2.0  # long enough for the first token not to be new
            assert words(await sent(destination, OAUTH)) == "202"
            clock.slept += 61.0
            assert words(await sent(destination, OAUTH)) == "202"
            clock.slept += 61.0
            endpoint.answer = lambda _: saying(401, {})
            assert words(await sent(destination, OAUTH)) == "credentials no"
            endpoint.answer = None
            clock.slept += 2.0
            assert words(await sent(destination, OAUTH)) == "202"
    assert api.seen == ["t1", "t1", "t2", "t3", "t5"]


@each_way
@each
async def test_an_api_that_forbids_gets_another_token_with_the_next_try(way: Way) -> None:
    """It may say 403 to a revoked token; the event isn't sent twice for that."""
    api, endpoint = Api("t1"), TokenEndpoint()
    async with scene(way, api, endpoint) as destination:
        await used_up(destination, api, endpoint)
        api.taken, api.refusal = {"Bearer t2"}, 403
        assert words(await sent(destination, OAUTH, an_event("e-2"))) == "403"
        assert words(await sent(destination, OAUTH, an_event("e-2"))) == "202"
    assert api.seen == ["t1", "t1", "t2"]


@pytest.mark.parametrize(
    ("status", "kind", "masks"),
    [(200, "json", False), (409, "json", False), (200, "html", True), (422, "json", True)],
)
async def test_what_is_not_kept_is_not_masked(status: int, kind: str, *, masks: bool) -> None:
    """The mask costs more than the rest of a try; a portal's page and a validation are read."""

    async def echoing(talk: Talk) -> None:
        while True:
            word = (await talk.request()).headers["authorization"].encode()
            answer = saying(status, b"<html>" + word).replace(
                b"application/json", b"text/" + kind.encode()
            )
            await talk.say(answer)

    endpoint = TokenEndpoint()
    endpoint.answer = lambda _: saying(200, {"access_token": "canary-token"})
    async with serving(echoing) as server, granting(endpoint):
        answers = AnswersSettings(accepted=(409,))
        more = {"validate_url": server.url, "answers": answers}
        async with opened(erp(server.url, **asking(endpoint.url), **more)) as destination:
            answer = await sent(destination, OAUTH)
            validated = await destination.validate(an_event(), OAUTH)
    assert isinstance(answer, Reply)
    assert isinstance(validated, Reply)
    assert (b"canary" not in answer.body, b"canary" not in validated.body) == (masks, True)

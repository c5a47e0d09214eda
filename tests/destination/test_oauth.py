"""When a token is fetched, and what becomes of those that wait for it: on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shipper.destination.grant import Credentials
from shipper.destination.oauth import TokenSource
from shipper.destination.request import awaited
from shipper.destination.tls import Trust
from shipper.errors import ConfigError
from shipper.policy.outcome import Fault
from tests.daemon.processes import until
from tests.destination.certificates import issued, showing
from tests.destination.token_endpoints import TokenEndpoint, granting, saying
from tests.observe.receiver import receiving

ALICE = Credentials("alice", "wonder+land")
PAUSE = 1.0


class Hands:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the present time."""
        return self.now


@asynccontextmanager
async def source(
    url: str,
    clock: Callable[[], float] | None = None,
    *,
    timeout: float = 10.0,
    ca_file: Path | None = None,
    proxy: str | None = None,
) -> AsyncIterator[TokenSource]:
    """Open what fetches tokens, and close it with the block."""
    clock = clock or asyncio.get_running_loop().time
    found = TokenSource(
        url,
        timeout=timeout,
        pause=PAUSE,
        trust=Trust(ca_file),
        proxy=proxy,
        clock=clock,
        wall=lambda: 0.0,
    )
    try:
        yield found
    finally:
        await found.aclose()


async def fetched(tokens: TokenSource, credentials: Credentials = ALICE) -> str | Fault:
    """Wait for a token."""
    return await awaited(partial(tokens.fetch, credentials))


async def test_a_request_is_what_the_rfc_says() -> None:
    """One form, with the credentials in the header, and nothing of ours."""
    async with granting() as endpoint, source(f"{endpoint.url}?tenant=1#x") as tokens:
        assert tokens.token(ALICE) is None
        assert await fetched(tokens) == "t1"
        assert tokens.token(ALICE) == "t1"
    [asked] = endpoint.requests
    assert asked.line == "POST /token?tenant=1 HTTP/1.1"
    assert endpoint.forms == [{"grant_type": "client_credentials"}]
    assert asked.headers["authorization"] == ALICE.authorization
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.headers["accept"] == "application/json"
    assert "x-api-id" not in asked.headers
    assert "idempotency-key" not in asked.headers


async def test_credentials_can_be_in_the_body() -> None:
    """And then they aren't in the header too, which RFC 6749, 2.3 forbids."""
    async with granting() as endpoint, source(endpoint.url) as tokens:
        assert await fetched(tokens, ALICE._replace(client_auth="post", scope="w")) == "t1"
    assert "authorization" not in endpoint.requests[0].headers
    assert endpoint.forms[0]["client_secret"] == "wonder+land"


async def test_all_that_wait_share_one_fetch() -> None:
    """openfga/js-sdk#332: each of them asked, and the endpoint had enough."""
    endpoint = TokenEndpoint()
    async with granting(endpoint), source(endpoint.url) as tokens:
        endpoint.gate.clear()
        waiting = [asyncio.create_task(fetched(tokens)) for _ in range(64)]
        await endpoint.asked.wait()
        late = asyncio.create_task(fetched(tokens))
        waiting[0].cancel()
        await until(waiting[0].done)
        endpoint.gate.set()
        assert {await one for one in (*waiting[1:], late)} == {"t1"}
    assert len(endpoint.requests) == 1


async def test_one_that_waits_can_give_up_another() -> None:
    """While the token is being handed out: that one isn't called any more."""
    endpoint = TokenEndpoint()
    async with granting(endpoint), source(endpoint.url) as tokens:
        endpoint.gate.clear()
        called: list[object] = []

        def first(found: object) -> None:
            called.append(found)
            second.cancel()

        tokens.fetch(ALICE, first)
        second = tokens.fetch(ALICE, called.append)
        await endpoint.asked.wait()
        endpoint.gate.set()
        assert await fetched(tokens) == "t1"
        assert called == ["t1"]


@pytest.mark.parametrize(
    ("seconds", "renewed"),
    [(3600, 3240), ("3600", 3240), (300, 240), (120, 60), (61, 30.5), (10, 5)],
)
async def test_a_token_is_renewed_while_it_still_works(seconds: object, renewed: float) -> None:
    """At 90 % of its life or 60 s before its end; a short one at half of it."""
    clock, endpoint = Hands(), TokenEndpoint(seconds)
    async with granting(endpoint), source(endpoint.url, clock) as tokens:
        assert await fetched(tokens) == "t1"
        clock.now += renewed - 0.01
        assert tokens.token(ALICE) == "t1"
        assert len(endpoint.requests) == 1
        endpoint.gate.clear()
        clock.now += 0.02
        assert tokens.token(ALICE) == tokens.token(ALICE) == "t1"
        await endpoint.asked.wait()
        endpoint.gate.set()
        await until(lambda: tokens.token(ALICE) == "t2")
    assert len(endpoint.requests) == 2


async def test_a_token_is_not_used_after_its_end() -> None:
    """Even if the machine has slept over it."""
    clock = Hands()
    async with granting() as endpoint, source(endpoint.url, clock) as tokens:
        assert await fetched(tokens) == "t1"
        clock.now += 3600.0
        assert tokens.token(ALICE) is None
        assert await fetched(tokens) == "t2"
        assert len(endpoint.requests) == 2


async def test_the_life_of_a_token_begins_before_it_is_asked_for() -> None:
    """A slow endpoint makes it shorter, not longer."""
    clock, endpoint = Hands(), TokenEndpoint(600)
    async with granting(endpoint), source(endpoint.url, clock) as tokens:
        endpoint.gate.clear()
        waiting = asyncio.create_task(fetched(tokens))
        await endpoint.asked.wait()
        clock.now += 200.0
        endpoint.gate.set()
        assert await waiting == "t1"
        clock.now += 400.0
        assert tokens.token(ALICE) is None


async def test_a_token_without_an_end_is_used_until_it_is_refused() -> None:
    """Which nothing but a 401 tells."""
    clock, endpoint = Hands(), TokenEndpoint(None)
    async with granting(endpoint), source(endpoint.url, clock) as tokens:
        assert await fetched(tokens) == "t1"
        clock.now += 1e9
        assert tokens.token(ALICE) == "t1"
        assert tokens.drop("t1")
        assert tokens.token(ALICE) is None
        assert await fetched(tokens) == "t2"


async def test_a_token_that_hardly_lives_is_not_fetched_for_each_event() -> None:
    """It lives for the pause at least."""
    clock, endpoint = Hands(), TokenEndpoint(0.001)
    async with granting(endpoint), source(endpoint.url, clock) as tokens:
        assert await fetched(tokens) == "t1"
        assert tokens.token(ALICE) == "t1"
        clock.now += PAUSE
        assert tokens.token(ALICE) is None


async def test_an_endpoint_that_gives_one_token_until_its_end_is_asked_seldom() -> None:
    """wso2/api-manager#773: what it gives again has less and less to live."""
    clock = Hands()
    began, life = clock.now, 3600.0
    endpoint = TokenEndpoint()
    endpoint.answer = lambda _: saying(
        200, {"access_token": "same", "expires_in": max(1, int(began + life - clock.now))}
    )
    async with granting(endpoint), source(endpoint.url, clock) as tokens:
        assert await fetched(tokens) == "same"
        while clock.now < began + life - 1:
            clock.now += 0.5
            if tokens.token(ALICE) is None:
                assert await fetched(tokens) == "same"
            await until(lambda: tokens._request is None)
    assert len(endpoint.requests) < 20


async def test_a_late_refusal_of_an_old_token_does_not_drop_the_new_one() -> None:
    """friggframework/frigg#636: tries that were under way refreshed what was fresh."""
    clock = Hands()
    async with granting() as endpoint, source(endpoint.url, clock) as tokens:
        assert await fetched(tokens) == "t1"
        clock.now += PAUSE
        assert tokens.drop("t1")
        assert await fetched(tokens) == "t2"
        assert tokens.drop("t1")
        assert tokens.token(ALICE) == "t2"
        # One that was fetched a moment ago is refused: another would be, too.
        assert not tokens.drop("t2")
        assert tokens.token(ALICE) == "t2"
        clock.now += PAUSE
        assert tokens.drop("t2")
        assert tokens.token(ALICE) is None
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(saying(401, {}), "credentials"), (saying(503, {}), "token"), (b"nonsense\r\n\r\n", "token")],
)
async def test_a_failure_is_remembered_for_the_pause(answer: bytes, kind: str) -> None:
    """So that not each event asks; new credentials ask at once."""
    clock, endpoint = Hands(), TokenEndpoint(answer=lambda _: answer)
    async with granting(endpoint), source(endpoint.url, clock) as tokens:
        for _ in range(5):
            found = await fetched(tokens)
            assert isinstance(found, Fault)
            assert (found.kind, found.sent) == (kind, "no")
        assert len(endpoint.requests) == 1
        await fetched(tokens, ALICE._replace(secret="mended"))
        assert len(endpoint.requests) == 2
        endpoint.answer = None
        clock.now += PAUSE
        assert await fetched(tokens) == "t3"


async def test_a_renewal_that_fails_disturbs_nothing_while_the_token_lives() -> None:
    """And it is tried again, the more often the less is left."""
    clock, endpoint = Hands(), TokenEndpoint()
    async with granting(endpoint), source(endpoint.url, clock) as tokens:
        assert await fetched(tokens) == "t1"
        endpoint.answer = lambda _: saying(500, {})
        clock.now += 3240.0
        for _ in range(3599 - 3240):
            assert tokens.token(ALICE) == "t1"
            await until(lambda: tokens._request is None)
            clock.now += 1.0
        assert 20 < len(endpoint.requests) < 60
        endpoint.answer = None
        clock.now += 1.0
        assert tokens.token(ALICE) is None
        assert await fetched(tokens) == f"t{len(endpoint.requests)}"


async def hung_up(endpoint: TokenEndpoint) -> str | Fault:
    """Let the endpoint hang, with little patience."""
    endpoint.answer = lambda _: None
    async with granting(endpoint), source(endpoint.url, timeout=0.2) as tokens:
        return await fetched(tokens)


async def not_there(_: TokenEndpoint) -> str | Fault:
    """Ask where nothing listens."""
    async with granting() as gone:
        url = gone.url
    async with source(url) as tokens:
        return await fetched(tokens)


async def closed(endpoint: TokenEndpoint) -> str | Fault:
    """Close while a fetch is under way."""
    endpoint.answer = lambda _: None
    async with granting(endpoint), source(endpoint.url) as tokens:
        waiting = asyncio.create_task(fetched(tokens))
        await endpoint.asked.wait()
        await tokens.aclose()
        return await waiting


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (hung_up, "no token: no whole answer from 127.0.0.1:"),
        (not_there, "no token: nothing listens at 127.0.0.1:"),
        (closed, "no token: 127.0.0.1:"),
    ],
)
async def test_a_network_that_fails_is_a_fault_that_passes(
    scene: Callable[[TokenEndpoint], Awaitable[str | Fault]], words: str
) -> None:
    """And the event has certainly not been received, whatever the endpoint has got."""
    found = await scene(TokenEndpoint())
    assert isinstance(found, Fault)
    assert (found.kind, found.sent) == ("token", "no")
    assert found.detail.startswith(words)


async def test_the_endpoint_is_trusted_as_the_destination_is(tmp_path: Path) -> None:
    """Through its ca_file; without it a person has to act."""
    authority = issued(authority=True)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem())
    shown = showing(tmp_path, issued(authority))
    async with granting(tls=shown) as endpoint:
        async with source(endpoint.url, ca_file=ca_file) as tokens:
            assert await fetched(tokens) == "t1"
        async with source(endpoint.url) as tokens:
            found: Any = await fetched(tokens)
        assert found.kind == "tls"
        assert found.detail.startswith("no token: the certificate of 127.0.0.1:")
    assert len(endpoint.requests) == 1


async def test_the_proxy_of_the_destination_is_gone_through() -> None:
    """appsmithorg/appsmith#17114: the token alone was asked for directly."""
    async with (
        receiving() as proxy,
        source("http://auth.example/token", proxy=proxy.url) as tokens,
    ):
        await fetched(tokens)
    [call] = proxy.calls
    assert call.body == b"grant_type=client_credentials"


def test_a_url_that_cannot_work_is_refused() -> None:
    """When the configuration is read, not with the first event."""
    for url in ("ftp://auth.example/", "https://", "auth.example"):
        with pytest.raises(ConfigError, match="token_url"):
            TokenSource(
                url,
                timeout=1.0,
                pause=PAUSE,
                trust=Trust(),
                proxy=None,
                clock=Hands(),
                wall=Hands(),
            )

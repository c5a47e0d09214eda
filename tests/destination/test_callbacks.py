"""A try calls back exactly once, whatever becomes of its connection, and never after its end."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shipper.policy.outcome import UnderWay
from tests.destination.servers import ACCEPTED, Talk, accepting, full_backlog, hanging, serving
from tests.destination.test_connections import PAYLOAD, an_attempt, way_to
from tests.destination.ways import DEADLINE, Sender, Way, each_of_ours, each_way, words
from tests.laps import laps


class Called:
    """What a try has called back with; `whole` is set by the first call."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.whole = asyncio.Event()

    def __call__(self, answer: Any) -> None:
        """Take an answer."""
        self.answers.append(answer)
        self.whole.set()

    def begin(self, destination: Sender, event_id: str = "e", api_id: str = "k") -> UnderWay:
        """Begin a try that calls this."""
        begun = destination.begin(event_id, PAYLOAD, api_id, self)
        assert not self.answers  # no caller is called back before it knows what has begun
        return begun

    def words(self) -> list[str]:
        """Return the answers in short."""
        return [words(answer) for answer in self.answers]


@each_way
def test_an_error_after_an_answer_is_no_second_answer(way: Way) -> None:
    """aws/aws-sdk-js#1678: a socket error right after the response called back again."""
    ended = asyncio.Event()

    async def resetting(talk: Talk) -> None:
        await talk.request()
        await talk.say(ACCEPTED)
        await talk.beat()
        talk.reset()
        ended.set()

    async def body() -> None:
        async with serving(resetting) as server, way.to(server.url) as destination:
            first, second = Called(), Called()
            first.begin(destination)
            await asyncio.wait_for(first.whole.wait(), 5)
            await asyncio.wait_for(ended.wait(), 5)
            second.begin(destination)
            await asyncio.wait_for(second.whole.wait(), 5)
        assert (first.words(), second.words()) == (["202"], ["202"])

    way.run(body())


@each_way
def test_the_end_of_a_connection_after_a_deadline_is_no_second_answer(way: Way) -> None:
    """phillro/node-elasticsearch-client#106: called at the deadline, and again by the socket."""

    async def body() -> None:
        async with serving(hanging) as server:
            called = Called()
            async with way.to(server.url, timeout=DEADLINE) as destination:
                called.begin(destination)
                await asyncio.wait_for(called.whole.wait(), 5)
            await laps(50)
        assert called.words() == ["timeout maybe"]

    way.run(body())


@each_way
@pytest.mark.parametrize("moment", [0, 1, 2, 3, 5, 8, 30])
def test_a_cancelled_try_does_not_call_back(way: Way, moment: int) -> None:
    """Not while it connects, not with its answer, and not when the destination closes."""

    async def body() -> None:
        async with serving(accepting) as server:
            called = Called()
            async with way.to(server.url) as destination:
                begun = called.begin(destination)
                await laps(moment)
                before = called.words()
                begun.cancel()
                begun.cancel()
                assert words(await destination.send("e", PAYLOAD, "k")) == "202"
            assert called.words() == before

    way.run(body())


@each_way
def test_what_can_not_be_sent_calls_back_too(way: Way) -> None:
    """Later, like any other; or not at all, if it is cancelled before."""

    async def body() -> None:
        async with way.to("http://127.0.0.1:9/") as destination:
            for event_id, api_id, expected in (
                ("\ud800", "k", "unbuildable"),
                ("e", "\n", "unreachable no"),
            ):
                called, cancelled = Called(), Called()
                called.begin(destination, event_id, api_id)
                cancelled.begin(destination, event_id, api_id).cancel()
                await asyncio.wait_for(called.whole.wait(), 5)
                assert (called.words(), cancelled.words()) == ([expected], [])

    way.run(body())


@each_of_ours
def test_code_that_raises_when_called_back_is_not_called_again(way: Way) -> None:
    """request/request#330: the exception ended the connection, whose end called back again."""

    async def body() -> None:
        raised: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, found: raised.append(found))
        async with serving(accepting) as server, way.to(server.url) as destination:
            for _ in range(3):
                called = Called()

                def fail(answer: Any, called: Called = called) -> None:
                    called(answer)
                    raise ZeroDivisionError

                destination.begin("e", PAYLOAD, "k", fail)
                await asyncio.wait_for(called.whole.wait(), 5)
                await laps(20)
                assert called.words() == ["202"]
        assert len(raised) == 3

    way.run(body())


@each_of_ours
@pytest.mark.parametrize("where", [accepting, hanging, None], ids=["answers", "hangs", "connects"])
def test_a_cancelled_try_gives_its_place_back(
    way: Way, where: Callable[[Talk], Any] | None
) -> None:
    """encode/httpcore#1093: each that was cancelled while it connected took a place for ever.

    At each moment: before the task that connects has begun, too.
    """

    async def cancelled(url: str) -> None:
        async with way_to(url, limit=2) as (ours, target):
            for moment in range(12):
                tries = [ours.begin(an_attempt(target), Called()) for _ in range(5)]
                await laps(moment)
                for one in tries:
                    one.cancel()
                await laps(30)
                assert (ours._places, len(ours._waiting), ours._dials) == (2, 0, {})

    async def body() -> None:
        if where is None:
            with full_backlog() as port:
                await cancelled(f"http://127.0.0.1:{port}/")
        else:
            async with serving(where) as server:
                await cancelled(server.url)

    way.run(body())


@each_of_ours
def test_a_try_that_waits_does_not_get_a_connection_that_ends(way: Way) -> None:
    """nodejs/node#47130: the next request in the queue went out on the socket that was closing."""

    async def once(talk: Talk) -> None:
        await talk.request()
        await talk.say(ACCEPTED)

    async def body() -> None:
        async with serving(once) as server, way_to(server.url, limit=1) as (ours, target):
            called = [Called() for _ in range(5)]
            for one in called:
                ours.begin(an_attempt(target), one)
            for one in called:
                await asyncio.wait_for(one.whole.wait(), 5)
        assert [answer.status for one in called for answer in one.answers] == [202] * 5
        assert server.connections == 5

    way.run(body())


@each_of_ours
def test_a_try_that_waited_for_too_long_leaves_the_queue(way: Way) -> None:
    """aio-libs/aiohttp#9670: after such a timeout no request got a connection any more."""

    async def body() -> None:
        async with (
            serving(hanging) as server,
            way_to(server.url, limit=1, timeout=DEADLINE) as (ours, target),
        ):
            for _ in range(2):
                called = [Called() for _ in range(4)]
                tries = [an_attempt(target) for _ in called]
                for one, attempt in zip(called, tries, strict=True):
                    ours.begin(attempt, one)
                    ours._timeout = DEADLINE / 2  # those that wait give up before the place is free
                for one in called:
                    await asyncio.wait_for(one.whole.wait(), 5)
                ours._timeout = DEADLINE
                assert [type(answer) for one in called for answer in one.answers] == [
                    TimeoutError
                ] * 4
                assert [attempt.begun for attempt in tries] == [True, False, False, False]
            await laps(5)
            assert (ours._places, len(ours._waiting), ours._dials) == (1, 0, {})
        assert len(server.requests) == 2

    way.run(body())

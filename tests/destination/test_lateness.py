"""Nothing is sent that can't be over in time: a process was stopped, or the machine has slept.

The loop's clock stands still while a machine sleeps, so it doesn't show that: the clock by which a
try has to be over does, and is read before its first byte.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import httpx

from shipper.destination.httpx_transport import HttpxTransport
from shipper.destination.request import Request, Target, Transport
from shipper.destination.transport import FastTransport
from tests.destination.servers import ACCEPTED, Server, Talk, accepting, serving
from tests.destination.test_lifetimes import Clock
from tests.destination.ways import Way, each_of_ours, each_way
from tests.laps import laps

TIMEOUT = 10.0
LEASE = TIMEOUT + 5.0
SLEEP = 60.0


@asynccontextmanager
async def sending(
    way: Way, url: str, clock: Clock, limit: int = 4
) -> AsyncIterator[tuple[Transport, Target]]:
    """Open a transport with a clock that is moved by hand."""
    tls, ours = ssl.create_default_context(), way.transport == "auto"
    opened: Transport
    if ours:
        opened = FastTransport(
            httpx.URL(url), limit=limit, timeout=TIMEOUT, keepalive=15.0, tls=tls, clock=clock
        )
    else:
        opened = HttpxTransport(
            limit=limit, timeout=TIMEOUT, keepalive=15.0, tls=tls, proxy=None, clock=clock
        )
    try:
        yield opened, Target(httpx.URL(url), "test")
    finally:
        await opened.aclose()


class Try:
    """A try that has to be over by a moment of the clock, and what it brought."""

    def __init__(self, name: str, to: tuple[Transport, Target], until: float) -> None:
        transport, target = to
        self.request = Request(target, "k", name, b"{}")
        self.request.until = until
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        transport.begin(self.request, self.answer.set_result)
        assert not self.answer.done()

    async def was_accepted(self) -> bool:
        """Return whether it was; if not, it ended in time and not a byte was sent."""
        answer = await asyncio.wait_for(self.answer, TIMEOUT / 2)
        if isinstance(answer, TimeoutError):
            assert not self.request.begun
            return False
        assert (answer.status, self.request.begun) == (202, True)
        return True


def keys(server: Server) -> list[str]:
    """Return which tries have arrived."""
    return [request.headers["idempotency-key"] for request in server.requests]


@each_way
def test_a_stop_between_two_tries_lets_only_the_first_go(way: Way) -> None:
    """On an idle connection, too, where nothing else is waited for."""

    async def body() -> None:
        clock = Clock()
        async with serving(accepting) as server, sending(way, server.url, clock) as to:
            lease = clock.now + LEASE
            assert await Try("first", to, lease).was_accepted()
            clock.now += SLEEP
            late, again = Try("late", to, lease), Try("again", to, clock.now + LEASE)
            assert not await late.was_accepted()
            assert await again.was_accepted()
            assert keys(server) == ["first", "again"]

    way.run(body())


@each_way
def test_a_machine_that_sleeps_in_a_dial_sends_nothing_when_it_wakes(way: Way) -> None:
    """Nor if the lease isn't over then, but would be before the try is."""

    async def body() -> None:
        clock, loop = Clock(), asyncio.get_running_loop()
        ask = loop.getaddrinfo

        async def asked(_host: Any, *args: Any, **more: Any) -> Any:
            clock.now += LEASE - TIMEOUT + 1.0
            return await ask("127.0.0.1", *args, **more)

        with patch.object(loop, "getaddrinfo", asked):
            async with serving(accepting) as server:
                url = f"http://api.example:{server.port}/"
                async with sending(way, url, clock) as to:
                    assert not await Try("late", to, clock.now + LEASE).was_accepted()
                    assert await Try("again", to, clock.now + LEASE + SLEEP).was_accepted()
                assert keys(server) == ["again"]

    way.run(body())


@each_way
def test_a_try_in_line_for_a_connection_is_not_sent_after_a_sleep(way: Way) -> None:
    """The next in line, whose time isn't over, gets the connection."""

    async def body() -> None:
        clock, asked, may_answer = Clock(), asyncio.Event(), asyncio.Event()

        async def slow(talk: Talk) -> None:
            while True:
                await talk.request()
                asked.set()
                await may_answer.wait()
                await talk.say(ACCEPTED)

        async with serving(slow) as server, sending(way, server.url, clock, limit=1) as to:
            lease = clock.now + LEASE
            first = Try("first", to, lease)
            await asked.wait()
            late, again = Try("late", to, lease), Try("again", to, lease + SLEEP)
            await laps(20)
            clock.now += SLEEP
            may_answer.set()
            assert await first.was_accepted()
            assert not await late.was_accepted()
            assert await again.was_accepted()
            assert keys(server) == ["first", "again"]

    way.run(body())


@each_of_ours
def test_a_late_try_that_is_cancelled_gives_its_place_back(way: Way) -> None:
    """At each moment, as any other."""

    async def body() -> None:
        clock = Clock()
        async with serving(accepting) as server, sending(way, server.url, clock) as to:
            assert await Try("first", to, clock.now + LEASE).was_accepted()
            for moment in range(6):
                late = Try("late", to, clock.now)
                await laps(moment)
                late.request.cancel()
                await laps(10)
            assert isinstance(to[0], FastTransport)
            assert (to[0]._places, to[0]._dials) == (4, {})
            assert keys(server) == ["first"]

    way.run(body())

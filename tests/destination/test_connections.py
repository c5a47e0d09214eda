"""Our own client's connections: when they are used, when they aren't, and that all are closed."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from shipper.destination.request import Request, Target, post
from shipper.destination.transport import FastTransport
from tests.destination.servers import (
    ACCEPTED,
    Talk,
    accepting,
    full_backlog,
    hanging,
    mute,
    serving,
)
from tests.destination.ways import Way, each_of_ours, words
from tests.laps import laps

pytestmark = each_of_ours
PAYLOAD = b'{"type":"order"}'


@asynccontextmanager
async def way_to(
    url: str, *, limit: int = 4, timeout: float = 10.0, keepalive: float = 15.0
) -> AsyncIterator[tuple[FastTransport, Target]]:
    """Open our client with a patience of its own."""
    tls = ssl.create_default_context()
    way = FastTransport(httpx.URL(url), limit=limit, timeout=timeout, keepalive=keepalive, tls=tls)
    try:
        yield way, Target(httpx.URL(url), "test")
    finally:
        await way.aclose()


def an_attempt(target: Target, body: bytes = PAYLOAD) -> Request:
    """Make a try."""
    return Request(target, "k", "e", body)


@pytest.mark.parametrize("surprise", [ACCEPTED, b""], ids=["message", "end"])
def test_what_lies_on_a_connection_is_seen_before_it_is_used(way: Way, surprise: bytes) -> None:
    """Even if it came since the loop looked last: it is neither an answer nor the cost of a try."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            async with way.to(url) as destination:
                first = asyncio.create_task(destination.send("first", PAYLOAD, "k"))
                with await _served(loop, listener, ACCEPTED) as peer:
                    assert words(await first) == "202"
                    if surprise:
                        peer.send(surprise)
                    else:
                        peer.shutdown(socket.SHUT_WR)
                    second = asyncio.create_task(destination.send("second", PAYLOAD, "k"))
                    with await _served(loop, listener, ACCEPTED.replace(b"202", b"299")):
                        assert words(await second) == "299"

    way.run(body())


async def _served(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, answer: bytes
) -> socket.socket:
    peer, _ = await asyncio.wait_for(loop.sock_accept(listener), 5)
    peer.setblocking(False)
    await asyncio.wait_for(loop.sock_recv(peer, 2**16), 5)
    await loop.sock_sendall(peer, answer)
    return peer


def test_what_follows_an_answer_is_not_the_next_one(way: Way) -> None:
    """Two answers to one request: the first counts, and its connection is done with."""

    async def twice(talk: Talk) -> None:
        while True:
            await talk.request()
            await talk.say(ACCEPTED + b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")

    async def body() -> None:
        async with serving(twice) as server, way.to(server.url) as destination:
            for _ in range(3):
                assert words(await destination.send("e", PAYLOAD, "k")) == "202"
        assert server.connections == 3

    way.run(body())


def test_the_connection_used_last_is_used_next(way: Way) -> None:
    """So that what a burst has opened gets old and is closed."""
    numbers: list[int] = []
    both = asyncio.Event()

    async def noting(talk: Talk) -> None:
        while True:
            await talk.request()
            numbers.append(talk.number)
            if len(numbers) == 2:
                both.set()
            await both.wait()
            await talk.say(ACCEPTED)

    async def body() -> None:
        async with serving(noting) as server, way.to(server.url) as destination:
            await asyncio.gather(*(destination.send("e", PAYLOAD, "k") for _ in range(2)))
            for _ in range(3):
                await destination.send("e", PAYLOAD, "k")
        assert sorted(Counter(numbers).values()) == [1, 4]

    way.run(body())


def test_an_idle_connection_is_closed_in_time(way: Way) -> None:
    """The receiver sees its end without another request; a busy one goes on."""
    ended = asyncio.Event()

    async def watching(talk: Talk) -> None:
        for _ in range(2):
            await talk.request()
            await talk.say(ACCEPTED)
            await talk.beat()
        await talk.drained()
        ended.set()

    async def body() -> None:
        async with (
            serving(watching) as server,
            way_to(server.url, keepalive=0.1) as (ours, target),
        ):
            for _ in range(2):
                assert (await post(ours, an_attempt(target))).status == 202
            await asyncio.wait_for(ended.wait(), 5)
            assert server.connections == 1

    way.run(body())


def test_each_try_has_its_own_deadline(way: Way) -> None:
    """One that began later ends later, though one timer serves them all."""

    async def body() -> None:
        clock = asyncio.get_running_loop().time

        async def timed(ours: FastTransport, target: Target) -> float:
            begun = clock()
            with pytest.raises(TimeoutError):
                await post(ours, an_attempt(target))
            return clock() - begun

        async with serving(hanging) as server, way_to(server.url, timeout=0.3) as (ours, target):
            first = asyncio.create_task(timed(ours, target))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.15)
            second = asyncio.create_task(timed(ours, target))
            for took in await asyncio.gather(first, second):
                assert 0.29 < took < 1.3

    way.run(body())


def test_closing_ends_what_waits_for_a_connection(way: Way) -> None:
    """One that connects, one that waits for its turn: neither outlives the destination."""

    async def body() -> None:
        with full_backlog() as port:
            async with way_to(f"http://127.0.0.1:{port}/", limit=1) as (ours, target):
                attempts = [an_attempt(target), an_attempt(target)]
                tries = [asyncio.create_task(post(ours, attempt)) for attempt in attempts]
                await asyncio.wait(tries, timeout=0.1)
                await ours.aclose()
                for task in tries:
                    with pytest.raises(ConnectionAbortedError):
                        await asyncio.wait_for(task, 1)
                assert not any(attempt.begun for attempt in attempts)

    way.run(body())


def test_closing_at_any_moment_leaves_no_connection(way: Way) -> None:
    """A try that has just been connected ends like the others."""

    async def body() -> None:
        async with serving(hanging) as server:
            for moment in range(20):
                async with way_to(server.url) as (ours, target):
                    task = asyncio.create_task(post(ours, an_attempt(target)))
                    await laps(moment)
                    await ours.aclose()
                    with pytest.raises(ConnectionAbortedError):
                        await asyncio.wait_for(task, 5)
                    assert not ours._pool._open

    way.run(body())


def test_a_cancelled_wait_costs_nobody_his_turn(way: Way) -> None:
    """Who gives up in the queue, or while connecting, leaves the queue as it was."""

    async def body() -> None:
        async with serving(accepting) as server, way_to(server.url, limit=1) as (ours, target):
            for moment in range(8):
                tries = [asyncio.create_task(post(ours, an_attempt(target))) for _ in range(4)]
                await laps(moment)
                for task in tries[:3]:
                    task.cancel()
                reply = await asyncio.wait_for(tries[3], 5)
                assert reply.status == 202
                await asyncio.gather(*tries, return_exceptions=True)

    way.run(body())


def test_a_body_that_nobody_reads_stays_where_it_is(way: Way) -> None:
    """What waits in buffers has a bound, whatever the body's size."""

    async def body() -> None:
        async with serving(mute) as server, way_to(server.url) as (ours, target):
            task = asyncio.create_task(post(ours, an_attempt(target, b"x" * (50 * 2**20))))
            await asyncio.wait([task], timeout=0.2)
            (connection,) = ours._pool._open
            assert connection._transport is not None
            assert 0 < connection._transport.get_write_buffer_size() <= 2**18
            assert len(connection._unsent) > 2**20
            task.cancel()
            await asyncio.wait([task])

    way.run(body())


def test_a_body_that_never_went_out_spoils_its_connection(way: Way) -> None:
    """An early answer counts, and what is left of the body isn't sent before the next request."""

    async def refusing(talk: Talk) -> None:
        await talk.head()
        if talk.number > 1:
            await talk.say(ACCEPTED)
            return
        await talk.say(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        await talk.hang()

    async def body() -> None:
        async with serving(refusing) as server, way.to(server.url) as destination:
            assert words(await destination.send("e", b"x" * (50 * 2**20), "k")) == "413"
            assert words(await destination.send("e", PAYLOAD, "k")) == "202"

    way.run(body())

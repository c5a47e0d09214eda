"""What an answer can tell us, and what it can't make us do."""

import asyncio
import gzip

import pytest

from shipper.destination.request import BODY_LIMIT
from shipper.policy.outcome import Reply
from tests.destination.servers import (
    ACCEPTED,
    Talk,
    accepting,
    answering,
    pouring,
    refusing_early,
    serving,
)
from tests.destination.ways import Way, each_way_and_kind, words

pytestmark = each_way_and_kind
PAYLOAD = b'{"type":"order"}'


def test_a_reply_carries_what_is_judged_by(way: Way) -> None:
    """Status, content type, Retry-After, Date and body arrive as they were sent."""
    head = (
        b"HTTP/1.1 503 Busy\r\nContent-Type: application/json; charset=utf-8\r\nRETRY-AFTER: 7\r\n"
        b"date: Mon, 23 Nov 2026 08:00:00 GMT\r\ncontent-length: 2\r\n\r\n"
    )

    async def body() -> None:
        async with serving(answering(head, b"{}")) as server, way.to(server.url) as destination:
            assert await destination.send("e", PAYLOAD, "k") == Reply(
                503,
                "application/json; charset=utf-8",
                "7",
                "Mon, 23 Nov 2026 08:00:00 GMT",
                b"{}",
            )

    way.run(body())


def test_an_answer_that_came_unasked_is_nobodys(way: Way) -> None:
    """A 202 that lay on an idle connection doesn't accept the next event."""
    spoken = asyncio.Event()

    async def chatty(talk: Talk) -> None:
        await talk.request()
        if talk.number > 1:
            await talk.say(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
            return
        await talk.say(ACCEPTED)
        await talk.beat()
        await talk.say(ACCEPTED)
        await talk.beat()
        spoken.set()
        await talk.hang()

    async def body() -> None:
        async with serving(chatty) as server, way.to(server.url) as destination:
            assert words(await destination.send("first", PAYLOAD, "k")) == "202"
            await asyncio.wait_for(spoken.wait(), 5)
            assert words(await destination.send("second", PAYLOAD, "k")) == "500"
            assert words(await destination.send("third", PAYLOAD, "k")) == "500"

    way.run(body())


def test_a_connection_that_was_closed_is_not_used(way: Way) -> None:
    """A receiver that hangs up after each answer, unannounced, costs no try."""

    async def body() -> None:
        async with serving(answering(ACCEPTED)) as server, way.to(server.url) as destination:
            for _ in range(3):
                assert words(await destination.send("e", PAYLOAD, "k")) == "202"
        assert server.connections == 3

    way.run(body())


def test_no_redirect_is_followed(way: Way) -> None:
    """A 3xx is the answer, wherever it points to."""

    async def body() -> None:
        async with serving(accepting) as target:
            location = f"location: {target.url}\r\n".encode()
            answer = b"HTTP/1.1 302 Found\r\n" + location + b"content-length: 0\r\n\r\n"
            async with serving(answering(answer)) as server, way.to(server.url) as destination:
                assert words(await destination.send("e", PAYLOAD, "k")) == "302"
        assert (len(server.requests), len(target.requests)) == (1, 0)

    way.run(body())


def test_no_cookie_is_kept(way: Way) -> None:
    """Set-Cookie, also a mangled one, has no echo."""

    async def baker(talk: Talk) -> None:
        while True:
            await talk.request()
            await talk.say(
                b"HTTP/1.1 202 A\r\nset-cookie: lb=1; path=/\r\nset-cookie: \xff=\x7f;;=\r\n"
                b"content-length: 0\r\n\r\n"
            )

    async def body() -> None:
        # A name, because cookie jars leave addresses alone.
        async with serving(baker) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            async with way.to(url) as destination:
                for _ in range(2):
                    assert words(await destination.send("e", PAYLOAD, "k")) == "202"
        assert all("cookie" not in request.headers for request in server.requests)

    way.run(body())


def test_a_packed_answer_stays_packed(way: Way) -> None:
    """Of a gzip bomb we keep the first 64 KiB of what was on the wire."""
    bomb = gzip.compress(bytes(200 * 2**20), 1)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}\r\n\r\n"

    async def body() -> None:
        script = answering(head.encode(), bomb)
        async with serving(script) as server, way.to(server.url) as destination:
            answer = await destination.send("e", PAYLOAD, "k")
        assert isinstance(answer, Reply)
        assert answer.body == bomb[:BODY_LIMIT]

    way.run(body())


def test_an_endless_body_is_cut_and_its_connection_closed(way: Way) -> None:
    """The status counts, little more than the limit is read, and the next try connects anew."""

    async def body() -> None:
        async with serving(pouring) as server, way.to(server.url) as destination:
            for _ in range(2):
                answer = await destination.send("e", PAYLOAD, "k")
                assert isinstance(answer, Reply)
                assert (answer.status, len(answer.body)) == (200, BODY_LIMIT)
            # What the kernel's socket buffers swallow comes on top of the limit.
            assert server.written < 16 * 2**20
            assert server.connections == 2

    way.run(body())


@pytest.mark.parametrize("size", [2**20 + 1, 20 * 2**20])
def test_an_early_refusal_is_heard(way: Way, size: int) -> None:
    """A 413 that comes while the body is still on its way is the answer to it."""

    async def body() -> None:
        async with serving(refusing_early) as server, way.to(server.url) as destination:
            assert words(await destination.send("e", b'{"type":"order"}'.ljust(size), "k")) == "413"

    way.run(body())


def test_a_cancelled_try_is_cancelled(way: Way) -> None:
    """CancelledError passes through, and the pool goes on working."""

    async def body() -> None:
        arrived = asyncio.Event()

        async def first_hangs(talk: Talk) -> None:
            await talk.request()
            arrived.set()
            if talk.number == 1:
                await talk.hang()
            await talk.say(ACCEPTED)

        async with serving(first_hangs) as server, way.to(server.url) as destination:
            task = asyncio.create_task(destination.send("e", PAYLOAD, "k"))
            await asyncio.wait_for(arrived.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert words(await destination.send("e", PAYLOAD, "k")) == "202"

    way.run(body())


def test_closing_ends_what_is_under_way(way: Way) -> None:
    """A try in flight while the destination closes ends with a fault that admits its doubt."""

    async def body() -> None:
        arrived = asyncio.Event()

        async def hangs(talk: Talk) -> None:
            await talk.request()
            arrived.set()
            await talk.hang()

        async with serving(hangs) as server, way.to(server.url) as destination:
            task = asyncio.create_task(destination.send("e", PAYLOAD, "k"))
            await asyncio.wait_for(arrived.wait(), 5)
            await destination.aclose()
            assert words(await asyncio.wait_for(task, 2)) == "closed maybe"

    way.run(body())

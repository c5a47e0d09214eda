"""Receivers that misbehave in one way each, on raw asyncio streams, so that nothing tidies them up.

A `Script` is what such a receiver does with one connection. `serving` runs one on a free port of
the loopback and counts what it was asked.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class Request:
    """What arrived: the first line, the headers by lower-case name, the body.

    `names` are those of the headers, as they were written.
    """

    line: str
    headers: dict[str, str]
    body: bytes
    names: tuple[str, ...] = ()


@dataclass
class Server:
    """A running receiver."""

    port: int
    tls: bool
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    written: int = 0

    @property
    def url(self) -> str:
        """Where to send events to."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v3/events"


class Talk:
    """One connection, as the receiver has it."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.number = server.connections
        self._reader = reader
        self._writer = writer

    async def head(self) -> Request:
        """Read the head of a request; raises IncompleteReadError at the end of the connection."""
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        fields = [line.partition(":") for line in lines if line]
        names = tuple(name for name, *_ in fields)
        request = Request(first, {k.lower(): v.strip() for k, _, v in fields}, b"", names)
        self.server.requests.append(request)
        return request

    async def request(self) -> Request:
        """Read a whole request."""
        request = await self.head()
        length = int(request.headers.get("content-length", "0"))
        request.body = await self._reader.readexactly(length)
        return request

    async def say(self, *answer: bytes) -> None:
        """Write, and wait until the other side's buffers have taken it."""
        for part in answer:
            self._writer.write(part)
            await self._writer.drain()
            self.server.written += len(part)

    async def drained(self) -> None:
        """Read whatever still comes, up to the end of the connection."""
        while await self._reader.read(2**16):
            pass

    async def beat(self) -> None:
        """Let 20 ms pass, as a slow receiver does."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.02)

    async def hang(self) -> None:
        """Do nothing for ever."""
        await asyncio.Event().wait()

    def cut(self) -> None:
        """End the connection by FIN beneath TLS, which doesn't see it."""
        with socket.socket(fileno=os.dup(self._writer.get_extra_info("socket").fileno())) as peer:
            peer.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End the connection by RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        self._writer.transport.abort()


Script = Callable[[Talk], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Server]:
    """Run a script for each connection, and end all of them with the block."""
    server = Server(0, tls is not None)
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        writers.append(writer)
        task = asyncio.create_task(_converse(script, Talk(server, reader, writer), writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(connected, host, port, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _abort(*writers)


async def _abort(*writers: asyncio.StreamWriter) -> None:
    # A polite close waits for a peer that may never read what is still buffered.
    for writer in writers:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def _converse(script: Script, talk: Talk, writer: asyncio.StreamWriter) -> None:
    try:
        await script(talk)
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def answering(*answer: bytes) -> Script:
    """Answer every request with the same bytes, in as many writes, and close."""

    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.say(*answer)

    return script


async def accepting(talk: Talk) -> None:
    """Accept every event on a connection that stays open."""
    while True:
        await talk.request()
        await talk.say(ACCEPTED)


async def hanging(talk: Talk) -> None:
    """Take the request and never answer."""
    await talk.request()
    await talk.hang()


async def mute(talk: Talk) -> None:
    """Accept the connection, and neither read nor write."""
    await talk.hang()


async def closing_at_once(talk: Talk) -> None:
    """Close before anything was read."""


async def closing_after_reading(talk: Talk) -> None:
    """Take the request and close without a word."""
    await talk.request()


async def resetting(talk: Talk) -> None:
    """Break off in the middle of an answer."""
    await talk.request()
    await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
    await talk.beat()
    talk.reset()


async def dripping(talk: Talk) -> None:
    """Send a byte now and then: no single read ever takes long."""
    await talk.request()
    await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        await talk.say(b"x")
        await talk.beat()


async def dripping_head(talk: Talk) -> None:
    """Never come to the end of the head."""
    await talk.request()
    await talk.say(b"HTTP/1.1 200 OK\r\nx-a: ")
    while True:
        await talk.say(b"x")
        await talk.beat()


async def pouring(talk: Talk) -> None:
    """Answer with a body that never ends, as fast as it is taken."""
    await talk.request()
    await talk.say(CHUNKED)
    while True:
        await talk.say(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


async def flooding(talk: Talk) -> None:
    """Send interim answers without end."""
    await talk.request()
    while True:
        await talk.say(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)
        await talk.beat()


async def refusing_early(talk: Talk) -> None:
    """Refuse a body while most of it is still to come, and let it come (RFC 9112, 9.6)."""
    await talk.head()
    await talk.say(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
    await talk.drained()


async def stale(talk: Talk) -> None:
    """Accept one event; take a second on the same connection and close without a word."""
    await talk.request()
    await talk.say(ACCEPTED)
    await talk.request()


def tunnelling(connect: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Script:
    """Be a proxy: CONNECT for TLS, absolute form for the rest; `connect` answers the former."""

    async def script(talk: Talk) -> None:
        request = await talk.request()
        if not request.line.startswith("CONNECT "):
            await talk.say(ACCEPTED)
            return
        await talk.say(connect)
        if connect.startswith(b"HTTP/1.1 200"):
            port = int(request.line.split()[1].rpartition(":")[2])
            await _pipe(talk, *await asyncio.open_connection("127.0.0.1", port))

    return script


async def _pipe(talk: Talk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(2**16):
            sink.write(data)
            await sink.drain()

    try:
        there = asyncio.create_task(copy(talk._reader, writer))
        back = asyncio.create_task(copy(reader, talk._writer))
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
    finally:
        await _abort(writer)


@contextlib.contextmanager
def unused_port() -> Iterator[int]:
    """Hold a port on which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Hold a port that takes no more connections and doesn't say so."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]

"""A TCP proxy that is a bad network: every connection may be struck in a way of its own.

It must never bring anything to the receiver after the sender has given up and closed: a network
that does can bring events out of order whatever a sender does.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass

KINDS = (
    "reset in the request",  # RST to both sides after some bytes of it
    "reset in the answer",  # the receiver has the event, the sender gets RST
    "end in the answer",  # the same with FIN
    "half open",  # from some byte on nothing goes through any more, and nobody is told
    "black hole",  # the connection stands, nothing ever goes through
    "refusal",  # closed before a byte was read
    "delay",  # every piece comes late, and in the end RST
    "trickle",  # one byte at a time, and in the end RST
    "garbage",  # something else comes in place of the answer
)
# These never let a request through.
_EMPTY = frozenset({"black hole", "refusal"})


@dataclass(slots=True)
class _Link:
    """One connection: the two writers, and what happens to it."""

    kind: str | None
    after: int
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    is_stuck: bool = False


class Proxy:
    """Forwards from a port of its own to another on the loopback."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.probability = 0.0
        """How likely a new connection is to be struck."""
        self.struck: Counter[str] = Counter()
        self._to = port
        self._chance = chance
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Return where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def may_have_hidden(self) -> int:
        """Return how many answers can have got lost: no more than connections were struck."""
        return sum(count for kind, count in self.struck.items() if kind not in _EMPTY)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = self._chance.choice(KINDS) if self._chance.random() < self.probability else None
        if kind is not None:
            self.struck[kind] += 1
        if kind == "refusal":
            reset(writer)
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        # A request has some 400 bytes, an answer some 100; a connection carries many of them.
        # Without a strike of its own a connection would stand for ever, and none be struck again.
        after = self._chance.randrange(1, 4000)
        link = _Link(kind, after, writer, back)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, link, "request"))
                group.create_task(self._pump(there, writer, link, "answer"))
        except* OSError:
            pass
        finally:
            for one in (writer, back):
                one.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        link: _Link,
        direction: str,
    ) -> None:
        passed = 0
        while data := await source.read(4096):
            if link.is_stuck or not await self._pass_on(data, passed, sink, link, direction):
                continue
            passed += len(data)
        # Whoever closes is heard on the other side, unless the network is gone between them.
        if direction == "request" or not link.is_stuck:
            raise ConnectionResetError

    async def _pass_on(
        self,
        data: bytes,
        passed: int,
        sink: asyncio.StreamWriter,
        link: _Link,
        direction: str,
    ) -> bool:
        strikes = passed + len(data) > link.after
        match link.kind:
            case "black hole":
                link.is_stuck = True
                return False
            case "half open" if strikes:
                link.is_stuck = True
                sink.write(data[: link.after - passed])
                return False
            case "reset in the request" if strikes and direction == "request":
                link.server.write(data[: link.after - passed])
                reset(link.client)
                reset(link.server)
                raise ConnectionResetError
            case "reset in the answer" | "delay" | "trickle" if strikes and direction == "answer":
                reset(link.client)
                raise ConnectionResetError
            case "end in the answer" if strikes and direction == "answer":
                link.client.write(data[: link.after - passed])
                link.client.close()
                with contextlib.suppress(OSError):
                    await link.client.wait_closed()
                raise ConnectionResetError
            case "garbage" if strikes and direction == "answer":
                data = self._chance.randbytes(len(data))
            case "delay":
                await asyncio.sleep(self._chance.uniform(0.0, 0.05))
            case "trickle":
                for at in range(len(data)):
                    sink.write(data[at : at + 1])
                    await sink.drain()
                return True
        sink.write(data)
        await sink.drain()
        return True


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST, unless it has ended."""
    if writer.transport.is_closing():
        return
    peer = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

"""A way to a PostgreSQL server on which, from some moment on, nothing goes through any more.

As behind a firewall that drops packets: no connection ends, and nobody is told.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Way:
    """The way, and where it is entered."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.stands = asyncio.Event()
        """Set once something was kept back."""
        self._to = port
        self._still = False
        self._at: bytes | None = None
        self._after = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the URL of the database `shop` by this way."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/shop?sslmode=disable"

    def stand_still(self, at: bytes | None = None, *, after: bool = False) -> None:
        """Let nothing through from now on; or from `at` on, or after what that is in."""
        self._still, self._at, self._after = at is None, at, after

    def go_on(self) -> None:
        """Let through what comes from now on, and have what stood still ended."""
        self._still, self._at = False, None
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, back]
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                was_still, is_there = self._still, self._at is not None and self._at in data
                self._still = was_still or is_there
                if self._still:
                    self.stands.set()
                if not self._still or (self._after and not was_still):
                    sink.write(data)
                    await sink.drain()
            if not self._still:
                sink.close()

    async def close(self) -> None:
        """End all that is going on."""
        self.go_on()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def way(port: int) -> AsyncIterator[Way]:
    """Give a way to a server's port for the length of a `with`."""
    found = Way(port)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        await found.close()

"""A PostgreSQL server that lets everybody in and says nothing after that, for ever."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_SSL_REQUEST = 80877103
_WELCOME = (
    b"R" + struct.pack("!ii", 8, 0)  # nobody is asked for a password
    + b"S" + struct.pack("!i", 22) + b"server_version\x0016\x00"
    + b"S" + struct.pack("!i", 25) + b"client_encoding\x00UTF8\x00"
    + b"Z" + struct.pack("!i", 5) + b"I"
)  # fmt: skip


class Silent:
    """The server, with what has come to it."""

    def __init__(self) -> None:
        self.port = 0
        self.asked = asyncio.Event()
        """Set once somebody is in, and waits for an answer."""
        self._talks: dict[asyncio.StreamWriter, asyncio.Event] = {}

    @property
    def url(self) -> str:
        """Return how to get there."""
        return f"postgresql://shipper@127.0.0.1:{self.port}/shop?sslmode=disable"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let one in, read all it says, and answer nothing."""
        ended = self._talks[writer] = asyncio.Event()
        with suppress(OSError, asyncio.IncompleteReadError):
            (length, code) = struct.unpack("!ii", await reader.readexactly(8))
            if code == _SSL_REQUEST:
                writer.write(b"N")
                (length, _) = struct.unpack("!ii", await reader.readexactly(8))
            await reader.readexactly(length - 8)
            writer.write(_WELCOME)
            while await reader.read(4096):
                self.asked.set()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        ended.set()

    async def hang_up(self) -> None:
        """End all that is going on."""
        for writer, ended in self._talks.items():
            writer.close()
            await ended.wait()


@asynccontextmanager
async def silent() -> AsyncIterator[Silent]:
    """Give such a server for the length of a `with`."""
    found = Silent()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        await found.hang_up()

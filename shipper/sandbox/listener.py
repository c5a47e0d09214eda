"""A listening socket that can be shut, and opened again at once on the same port.

While the socket is shut, the kernel refuses connections, as if no server ran (a client that is
connecting at that moment gets a reset). The sandbox keeps the port: `shut` binds the next socket to
it at once. The kernel can give a free port to any client on this machine, even as the source port
of a connection to the sandbox. The servers of aiohttp and asyncio can't keep a shut port, so this
module accepts the connections itself.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

_BACKLOG: Final = 1024


class Listener:
    """Accepts connections for a protocol factory; it belongs to the running event loop."""

    def __init__(
        self, factory: Callable[[], asyncio.Protocol], ssl_context: ssl.SSLContext | None
    ) -> None:
        self._factory = factory
        self._ssl = ssl_context
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._greetings: set[asyncio.Task[None]] = set()
        self.is_open = False

    def bind(self, host: str, port: int) -> tuple[str, int]:
        """Take a port (0 = any free port) without listening yet; return host and port.

        Raises OSError, and OverflowError for a port number out of range.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setblocking(False)
            bound.bind((host, port))
        except BaseException:
            bound.close()
            raise
        self._socket = bound
        name = bound.getsockname()
        return name[0], name[1]

    def open(self) -> None:
        """Listen, unless it is open. Raises OSError if another process has the port."""
        if self.is_open:
            return
        assert self._socket is not None, "bind comes first"
        self._socket.listen(_BACKLOG)
        self._loop.add_reader(self._socket, self._accept, self._socket)
        self.is_open = True

    def shut(self) -> None:
        """Refuse connections from now on, but keep the port; does nothing if it is shut."""
        if not self.is_open:
            return
        assert self._socket is not None, "open without a socket"
        host, port = self._socket.getsockname()[:2]
        self._close_socket()
        self.bind(host, port)

    async def close(self) -> None:
        """Release the port, and end the connections that are still being set up."""
        self._close_socket()
        for greeting in self._greetings:
            greeting.cancel()
        await asyncio.gather(*self._greetings, return_exceptions=True)

    def _close_socket(self) -> None:
        assert self._socket is not None, "bind comes first"
        if self.is_open:
            self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        self.is_open = False

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            peer.setblocking(False)
            greeting = self._loop.create_task(self._greet(peer))
            self._greetings.add(greeting)
            greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, peer: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, peer, ssl=self._ssl)
        except OSError:
            # A failed handshake (ssl.SSLError is an OSError) ends only this connection.
            peer.close()

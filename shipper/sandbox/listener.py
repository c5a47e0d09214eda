"""The listening socket, which can be shut and opened again on the same port at once.

While it is shut, connecting is refused as on a machine where nothing runs (whoever was connecting
at the moment of shutting is reset). The port stays ours, because the next socket is bound to it
already: a port that is merely free may be handed to any client of this machine, even as the
source of its own connection to it. aiohttp's and asyncio's servers can't do that, so the
accepting is done here.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

_BACKLOG: Final = 1024


class Listener:
    """Accepts connections for a protocol factory; belongs to the running loop."""

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
        """Take a port (0 = any) without listening yet, and return host and port.

        Raises OSError, and OverflowError for a port that can't be.
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
        """Listen, if it isn't open yet; raises OSError when the port is somebody else's."""
        if self.is_open:
            return
        assert self._socket is not None, "bind comes first"
        self._socket.listen(_BACKLOG)
        self._loop.add_reader(self._socket, self._accept, self._socket)
        self.is_open = True

    def shut(self) -> None:
        """Refuse connections from now on, but keep the port; does nothing when it is shut."""
        if not self.is_open:
            return
        assert self._socket is not None, "open without a socket"
        host, port = self._socket.getsockname()[:2]
        self._close_socket()
        self.bind(host, port)

    async def close(self) -> None:
        """Give the port back, and end the connections that are still being set up."""
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
            # A failed handshake (ssl.SSLError is an OSError) is the client's loss, not ours.
            peer.close()

"""New connections to one origin: look up the name, connect to an address, begin TLS.

It decides which address is tried when (RFC 8305). It must never leave an unused socket open.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Final

import httpx

from shipper.destination.connection import Connection
from shipper.destination.request import PORTS, Request, certified
from shipper.destination.resolve import CachingResolver, SocketAddress

# RFC 8305, 5: the seconds after which the next address is tried.
STAGGER_SECONDS: Final = 0.25
_ENDLESS = 24 * 3600.0


class Dialler:
    """Connects to the host and port of a URL, with TLS for https."""

    def __init__(
        self,
        url: httpx.URL,
        *,
        tls: ssl.SSLContext,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._host = url.raw_host.decode("ascii")
        self._port = url.port or PORTS[url.scheme]
        self._resolver = CachingResolver(clock=clock)
        self._secure = url.scheme == "https"
        self._tls = tls

    async def connect(self, connection: Connection, request: Request) -> None:
        """Connect, and keep the stage in the request; raises OSError (SSLError is one)."""
        try:
            request.stage = "name"
            addresses = await self._resolver.resolve(self._host, self._port)
            request.stage = "address"
            reached = await reach(addresses)
            request.stage = "tls"
            await self._begin(connection, reached)
        except BaseException:
            self._resolver.forget()
            # The connection may have been made a moment before the error.
            connection.fail(ConnectionAbortedError())
            raise

    async def aclose(self) -> None:
        """Cancel the lookups under way."""
        await self._resolver.close()

    async def _begin(self, connection: Connection, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if self._secure:
            # The caller has a deadline, which waits for what has arrived.
            await loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=self._tls,
                server_hostname=certified(self._host),
                ssl_handshake_timeout=_ENDLESS,
            )
        else:
            await loop.create_connection(lambda: connection, sock=sock)


async def reach(addresses: Sequence[SocketAddress]) -> socket.socket:
    """Return a socket that is connected to one of the addresses; raises OSError.

    The addresses are tried in turn, with alternating families. The next one is tried when one
    fails, or after STAGGER_SECONDS.
    """
    running: set[asyncio.Task[socket.socket]] = set()
    failures: list[OSError] = []
    try:
        for address in _alternating(addresses):
            running.add(asyncio.create_task(_reach_one(address)))
            winner = await _first(running, failures, STAGGER_SECONDS)
            if winner is not None:
                return winner
        while running:
            winner = await _first(running, failures, None)
            if winner is not None:
                return winner
    finally:
        for task in running:
            task.add_done_callback(_drop)
            task.cancel()
    if len(failures) == 1:
        raise failures[0]
    raise OSError("no address answers") from ExceptionGroup("one for each", failures)


async def _first(
    running: set[asyncio.Task[socket.socket]], failures: list[OSError], seconds: float | None
) -> socket.socket | None:
    done, _ = await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        running.discard(task)
        try:
            return task.result()
        except OSError as error:
            failures.append(error)
    return None


def _drop(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _reach_one(address: SocketAddress) -> socket.socket:
    family, place = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            error.filename = str(place[0])  # the message of the fault names the address
        raise
    return sock


def _alternating(addresses: Sequence[SocketAddress]) -> Iterable[SocketAddress]:
    """Yield the addresses alternating between the family of the first and the others."""
    ours = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    for pair in zip_longest(ours, others):
        yield from (address for address in pair if address is not None)

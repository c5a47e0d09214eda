"""The server's front: a port that can be there or away, and the connections that came through it.

It decides nothing about requests. It must leave nothing behind: whoever stops a sandbox and
starts another in its place meets no connection and no handler of the first.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from shipper.errors import AccessDenied, ShipperError, UsageError
from shipper.sandbox import wire
from shipper.sandbox.listener import Listener

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.web_protocol import RequestHandler

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# What is being answered when we stop has this long before it is cut off.
_STOP_SECONDS: Final = 1.0


class Front:
    """An HTTP server for one handler; belongs to the running loop."""

    def __init__(self, handler: Handler, ssl_context: ssl.SSLContext | None) -> None:
        # A handler ends when its client leaves: a stalled request must not outlive it.
        self._server = web.Server(
            _only_http(handler),
            request_factory=_request,
            handler_cancellation=True,
            access_log=None,
        )
        self._listener = Listener(self._server, ssl_context)
        self._scheme = "http" if ssl_context is None else "https"

    def bind(self, host: str, port: int) -> str:
        """Take the port and return the base URL; raises UsageError or AccessDenied."""
        try:
            host, port = self._listener.bind(host, port)
        except (OSError, OverflowError) as error:
            raise cannot_listen(error, host, port) from error
        shown = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{shown}:{port}"

    def open(self) -> None:
        """Let clients in; does nothing when they are let in already."""
        self._listener.open()

    def vanish(self) -> None:
        """Refuse every connection and cut off those that stand; `open` ends it."""
        self._listener.shut()
        for transport in self._transports():
            wire.reset(transport)

    async def close(self) -> None:
        """Give the port back, let what is being answered end, cut off the rest."""
        await self._listener.close()
        self._server.pre_shutdown()
        transports = self._transports()
        await self._server.shutdown(_STOP_SECONDS)
        for transport in transports:
            transport.abort()
        # The loop closes aborted sockets in its next round.
        await asyncio.sleep(0)

    def _transports(self) -> list[asyncio.Transport]:
        found = (connection.transport for connection in self._server.connections)
        return [transport for transport in found if transport is not None]


def _only_http(handler: Handler) -> Handler:
    """Return a handler that refuses whoever wants to go on with another protocol."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if "Upgrade" not in request.headers:
            return await handler(request)
        # What follows would be read as another protocol's by us, as requests by a proxy before us.
        refusal = web.Response(status=400, text="nothing but HTTP/1.1 is spoken here: no Upgrade\n")
        refusal.force_close()
        return refusal

    return handle


def cannot_listen(error: OSError | OverflowError, host: str, port: int) -> ShipperError:
    """Return what to tell a person whose sandbox can't have its port."""
    if isinstance(error, PermissionError):
        return AccessDenied(
            f"the sandbox may not listen on {host} port {port}", "take a port above 1023"
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return UsageError(
        f"the sandbox can't listen on {host} port {port}: {reason}", "name another address or port"
    )


def _request(
    message: "RawRequestMessage",
    payload: "StreamReader",
    protocol: "RequestHandler",
    writer: "AbstractStreamWriter",
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    # No limit on the body: the contract has its own and explains it.
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=0)

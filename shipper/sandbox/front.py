"""The HTTP server of the sandbox: its port, which can be open or shut, and its connections.

It decides nothing about requests. `close` must leave nothing behind: a second sandbox on the same
port never meets a connection or a handler of the first.
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

# When the sandbox stops, a request in progress has this time before it is cut off.
_STOP_SECONDS: Final = 1.0


class Front:
    """An HTTP server for one handler; it belongs to the running event loop."""

    def __init__(self, handler: Handler, ssl_context: ssl.SSLContext | None) -> None:
        # A handler ends when its client disconnects: a stalled request must not outlive its client.
        self._server = web.Server(
            _only_http(handler),
            request_factory=_request,
            handler_cancellation=True,
            access_log=None,
        )
        self._listener = Listener(self._server, ssl_context)
        self._scheme = "http" if ssl_context is None else "https"

    def bind(self, host: str, port: int) -> str:
        """Take the port and return the base URL. Raises UsageError and AccessDenied."""
        try:
            host, port = self._listener.bind(host, port)
        except (OSError, OverflowError) as error:
            raise cannot_listen(error, host, port) from error
        shown = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{shown}:{port}"

    def open(self) -> None:
        """Accept connections; does nothing if the port is open already."""
        self._listener.open()

    def vanish(self) -> None:
        """Refuse new connections and reset existing ones, until `open` is called."""
        self._listener.shut()
        for transport in self._transports():
            wire.reset(transport)

    async def close(self) -> None:
        """Release the port, let requests in progress end, then cut off the rest."""
        await self._listener.close()
        self._server.pre_shutdown()
        transports = self._transports()
        await self._server.shutdown(_STOP_SECONDS)
        for transport in transports:
            transport.abort()
        # The event loop closes aborted sockets in its next iteration.
        await asyncio.sleep(0)

    def _transports(self) -> list[asyncio.Transport]:
        found = (connection.transport for connection in self._server.connections)
        return [transport for transport in found if transport is not None]


def _only_http(handler: Handler) -> Handler:
    """Return a handler that refuses a request to change the protocol."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if "Upgrade" not in request.headers:
            return await handler(request)
        # After an upgrade, the sandbox would read the following bytes as another protocol, while
        # a proxy in front would read them as requests.
        refusal = web.Response(status=400, text="only HTTP/1.1 is supported: no Upgrade\n")
        refusal.force_close()
        return refusal

    return handle


def cannot_listen(error: OSError | OverflowError, host: str, port: int) -> ShipperError:
    """Return the error for a sandbox that can't use its port."""
    if isinstance(error, PermissionError):
        return AccessDenied(
            f"the sandbox isn't allowed to listen on {host} port {port}",
            "choose a port above 1023",
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return UsageError(
        f"the sandbox can't listen on {host} port {port}: {reason}",
        "choose another address or port",
    )


def _request(
    message: "RawRequestMessage",
    payload: "StreamReader",
    protocol: "RequestHandler",
    writer: "AbstractStreamWriter",
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    # No limit on the body: the contract's check has a limit of its own, and explains it.
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=0)

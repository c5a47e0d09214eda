"""The HTTP server of the port: three paths, and limits for everything else.

Another process on this machine must never slow the delivery down: connections, request heads and
waiting are limited, a body is never read, and each connection is closed after its answer. The
server must never answer a web page whose host name leads to this machine (DNS rebinding), and never
speak another protocol than HTTP/1.1.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from shipper.config.listen import ListenAddress, UnixSocket
from shipper.logs import Log
from shipper.observe.health import Health
from shipper.observe.metrics import CONTENT_TYPE, Metrics
from shipper.observe.survey import Survey
from shipper.port import sockets
from shipper.wording.safe_text import printable

_CONNECTIONS: Final = 32
_BACKLOG: Final = 32
_HEAD_LINE: Final = 4096
_HEAD_LINES: Final = 64
# Seconds for a client to send its request.
_PATIENCE: Final = 10.0
# Seconds for the answers in progress when the server stops.
_STOP_SECONDS: Final = 1.0

_PLAIN: Final = "text/plain; charset=utf-8"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Server": "shipper",
    "X-Content-Type-Options": "nosniff",
}

PageAnswer = Callable[[], Awaitable[web.Response]]


class WebServer:
    """Answers `/livez`, `/readyz` and `/metrics`. Belongs to the running loop."""

    def __init__(self, health: Health, metrics: Metrics, survey: Survey, log: Log) -> None:
        self._health = health
        self._metrics = metrics
        self._survey = survey
        self._log = log
        self._answers: dict[str, PageAnswer] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._all_metrics,
        }
        self._http = web.Server(
            self._handle,
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            keepalive_timeout=_PATIENCE,
            lingering_time=0.0,
            max_line_size=_HEAD_LINE,
            max_field_size=_HEAD_LINE,
            max_headers=_HEAD_LINES,
        )
        self._server: asyncio.Server | None = None
        self._address: ListenAddress | None = None
        self._inode = 0

    async def open(self, address: ListenAddress) -> None:
        """Listen at an address; raises OSError."""
        loop = asyncio.get_running_loop()
        is_unix = isinstance(address, UnixSocket)
        serve = loop.create_unix_server if is_unix else loop.create_server
        listening = sockets.bound(address)
        try:
            self._server = await serve(self._protocol, sock=listening, backlog=_BACKLOG)
        except BaseException:
            listening.close()
            raise
        self._address = address
        if isinstance(address, UnixSocket):
            self._inode = address.path.lstat().st_ino

    async def aclose(self) -> None:
        """Release the address, finish the answers in progress, and cut off the rest."""
        if self._server is None:
            return
        self._server.close()
        if isinstance(self._address, UnixSocket):
            sockets.remove(self._address.path, self._inode)
        self._http.pre_shutdown()
        await self._http.shutdown(_STOP_SECONDS)

    def _protocol(self) -> asyncio.Protocol:
        full = len(self._http.connections) >= _CONNECTIONS
        return _Refusal() if full else self._http()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        answer = self._answers.get(request.path)
        if (refusal := self._refusal(request)) is not None:
            response = refusal
        elif answer is None:
            response = _text(404, f"not found; the paths are {', '.join(self._answers)}")
        elif request.method not in {"GET", "HEAD"}:
            response = _text(405, "use GET")
            response.headers["Allow"] = "GET, HEAD"
        else:
            response = await self._guarded(answer)
        response.force_close()
        return response

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return the refusal of another protocol, or of another machine's name in Host."""
        if "Upgrade" in request.headers:
            return _text(400, "this port speaks only HTTP/1.1: no Upgrade")
        # A browser can't reach a Unix socket, and clients of one send any Host.
        is_file = isinstance(self._address, UnixSocket)
        if is_file or all(map(sockets.names_this_machine, request.headers.getall("Host", []))):
            return None
        return _text(421, "use 127.0.0.1, [::1] or localhost: the Host header has another name")

    async def _guarded(self, answer: PageAnswer) -> web.Response:
        try:
            return await answer()
        except Exception as error:  # noqa: BLE001 - any failure is answered, so that no client waits in vain
            self._log("web.broken", reason=f"{type(error).__name__}: {error}")
            return _text(500, "this is a bug of shipper; see the log")

    async def _livez(self) -> web.Response:
        return _judged("live", self._health.why_not_alive())

    async def _readyz(self) -> web.Response:
        return _judged("ready", self._health.why_not_ready())

    async def _all_metrics(self) -> web.Response:
        body = self._metrics.render(await self._survey.figures())
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": CONTENT_TYPE})


class _Refusal(asyncio.Protocol):
    """Closes a connection at once: too many are open."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close the connection."""
        transport.close()


def _judged(word: str, why_not: str | None) -> web.Response:
    return _text(200, word) if why_not is None else _text(503, f"not {word}: {why_not}")


def _text(status: int, text: str) -> web.Response:
    headers = {**_HEADERS, "Content-Type": _PLAIN}
    body = f"{printable(text)}\n".encode("utf-8", "backslashreplace")
    return web.Response(status=status, body=body, headers=headers)

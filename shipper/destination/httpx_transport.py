"""The transport of httpx, for proxies and for machines without httptools: a tenth as fast.

It decides when a try has begun, by the trace of httpcore, and when a connection isn't used again
although httpcore would use it. It must never send a request twice or too late.

Each request is a task. After the loop has stood still, an answer that came in time counts if httpx
reads it within a few turns of the loop: `patience` has the number.
"""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import httpx

from shipper.destination.lenient_parser import HEAD_LIMIT
from shipper.destination.patience import patience_until
from shipper.destination.request import (
    BODY_LIMIT,
    Answer,
    NotHttpError,
    Request,
    certified,
    failure_of,
    is_known,
    lifetimes,
    reply,
)
from shipper.destination.resolve import is_this_machine
from shipper.policy.outcome import Reply

_CONNECTED: Final = "connection.connect_tcp.complete"
_GREETING: Final = "connection.start_tls.started"
_SENDING: Final = ".send_request_headers.started"
_TRAILING_DATA: Final = attrgetter("_httpcore_stream._stream._connection._h11_state.trailing_data")


class HttpxTransport:
    """Sends by httpx. `timeout`, `keepalive` and `clock` are in seconds; see `FastTransport`.

    `proxy` is its URL, and how TLS with the proxy itself is done.
    """

    def __init__(
        self,
        *,
        limit: int,
        timeout: float,
        keepalive: float,
        tls: ssl.SSLContext,
        proxy: tuple[str, ssl.SSLContext] | None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._timeout = timeout
        self._proxied = proxy is not None
        self._now = asyncio.get_running_loop().time
        self._clock = clock or self._now
        self._tasks: dict[Request, asyncio.Task[Reply]] = {}
        self._lifetimes = lifetimes()
        self._retires: WeakKeyDictionary[object, float] = WeakKeyDictionary()
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=limit, max_keepalive_connections=limit, keepalive_expiry=keepalive
            ),
            proxy=None if proxy is None else _proxy(*proxy),
        )

    def begin(self, request: Request, done: Callable[[Answer], None]) -> Request:
        """Send a request once; `done` gets its answer, httpx.TransportError, or OSError.

        See `Transport`.
        """
        request.begin(self, done)
        request.due = min(request.due, self._now() + self._timeout)
        task = self._tasks[request] = asyncio.create_task(self._post(request))
        task.add_done_callback(partial(self._answered, request))
        return request

    def drop(self, request: Request) -> None:
        """End a request that was cancelled, and free its place."""
        self._tasks[request].cancel()

    def _answered(self, request: Request, task: asyncio.Task[Reply]) -> None:
        del self._tasks[request]
        request.settle(failure_of(task) or task.result())

    async def _post(self, request: Request) -> Reply:
        trace = _Trace(request, self._is_late)
        url = request.url
        asked = httpx.Request(
            request.method,
            url if self._proxied else _without_lookup(url),
            headers=request.fields(),
            content=request.body,
            extensions=self._extensions(url, trace),
        )
        async with patience_until(request.due, lambda: request.begun):
            try:
                answer = await self._transport.handle_async_request(asked)
            except BaseException:
                await trace.clean_up()
                raise
            return await self._read(answer)

    def _is_late(self, request: Request) -> bool:
        return request.is_late(self._now(), self._clock())

    async def aclose(self) -> None:
        """Close every connection, used or not."""
        await self._transport.aclose()

    def _extensions(self, url: httpx.URL, trace: "_Trace") -> dict[str, Any]:
        # With a proxy, httpcore would use the name for the proxy.
        if self._proxied:
            return {"trace": trace}
        return {"trace": trace, "sni_hostname": certified(url.raw_host.decode("ascii"))}

    async def _read(self, answer: httpx.Response) -> Reply:
        head = sum(len(name) + len(value) + 4 for name, value in answer.headers.raw)
        if not is_known(answer.extensions["http_version"]) or head > HEAD_LIMIT:
            await answer.aclose()
            raise NotHttpError
        return reply(answer.status_code, answer.headers.raw, await self._body(answer))

    async def _body(self, answer: httpx.Response) -> bytes:
        """Read at most BODY_LIMIT bytes; close a connection that has more of them."""
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        connection = answer.extensions["network_stream"]
        body, done_with = b"", True
        try:
            async for chunk in answer.stream:
                body += chunk
                if len(body) >= BODY_LIMIT:
                    break
            done_with = _is_spoiled(answer) or self._is_old(connection)
        finally:
            if done_with:
                # httpcore may count this connection as idle; it drops only a closed one.
                await connection.aclose()
            await answer.stream.aclose()
        return body

    def _is_old(self, connection: object) -> bool:
        # httpcore knows no age. Here a connection is first seen with its first answer.
        now = self._clock()
        if connection not in self._retires:
            self._retires[connection] = now + next(self._lifetimes)
        return now >= self._retires[connection]


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class _Trace:
    """Called by httpcore before and after each of its steps."""

    def __init__(self, request: Request, is_late: Callable[[Request], bool]) -> None:
        self._request = request
        self._is_late = is_late
        self._connection: _Closable | None = None

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        if name == _CONNECTED:
            self._connection = info["return_value"]
        elif name == _GREETING:
            self._request.stage = "tls"
        # The CONNECT to a proxy is a request too, but it carries no event.
        elif name.endswith(_SENDING) and info["request"].method != b"CONNECT":
            if self._is_late(self._request):
                raise TimeoutError
            self._request.begun = True

    async def clean_up(self) -> None:
        """Close the socket that httpcore 1.0 forgets when a TLS handshake meets the deadline."""
        if self._connection is not None and not self._request.begun:
            await self._connection.aclose()


def _without_lookup(url: httpx.URL) -> httpx.URL:
    """Return a URL with an address instead of a name of this machine; see `is_this_machine`."""
    return url.copy_with(host="127.0.0.1") if is_this_machine(url.host) else url


def _proxy(url: str, tls: ssl.SSLContext) -> httpx.Proxy:
    # httpcore refuses a context for a proxy without TLS.
    return httpx.Proxy(url, ssl_context=tls if httpx.URL(url).scheme == "https" else None)


def _is_spoiled(answer: httpx.Response) -> bool:
    """Return whether bytes came after the answer, or the end of the answer isn't certain.

    httpcore 1.0 would take such bytes for the answer to the next request. Only h11 knows of them,
    and its attributes are private: if they are missing, the connection isn't used again.
    """
    if {"content-length", "transfer-encoding"} <= answer.headers.keys():
        return True
    try:
        return bool(_TRAILING_DATA(answer.stream)[0])
    except AttributeError:
        return True

"""The stock client of httpx, for what ours doesn't speak: proxies, and machines without httptools.

It decides when a try has begun, from what httpcore says of its work. A tenth as fast as ours, and
httpcore can't be kept from taking a second answer, sent along with the first, for the next one.
"""

import asyncio
import ssl
from typing import Any, Final, Protocol

import httpx

from shipper.destination.way import BODY_LIMIT, Attempt
from shipper.outcome import Reply

_CONNECTED: Final = "connection.connect_tcp.complete"
_SENDING: Final = ".send_request_headers.started"


class StockWay:
    """The way through httpx. `timeout` and `keepalive` are in seconds."""

    def __init__(
        self,
        *,
        limit: int,
        timeout: float,
        keepalive: float,
        tls: ssl.SSLContext,
        proxy: str | None,
    ) -> None:
        self._timeout = timeout
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=limit, max_keepalive_connections=limit, keepalive_expiry=keepalive
            ),
            proxy=None if proxy is None else _proxy(proxy, tls),
        )

    async def post(self, attempt: Attempt) -> Reply:
        """Make one try; raises httpx.TransportError or OSError, of which TimeoutError is one."""
        trace = _Trace(attempt)
        request = httpx.Request(
            attempt.target.method,
            attempt.target.url,
            headers=attempt.fields(),
            content=attempt.body,
            extensions={"trace": trace},
        )
        async with asyncio.timeout(self._timeout):
            try:
                answer = await self._transport.handle_async_request(request)
            except BaseException:
                await trace.clean_up()
                raise
            return await _read(answer)

    async def aclose(self) -> None:
        """Close every connection, used or not."""
        await self._transport.aclose()


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class _Trace:
    """Hears from httpcore what it is about to do."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._connection: _Closable | None = None

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        if name == _CONNECTED:
            self._connection = info["return_value"]
        # A proxy's CONNECT is a request too, but not ours.
        elif name.endswith(_SENDING) and info["request"].method != b"CONNECT":
            self._attempt.begun = True

    async def clean_up(self) -> None:
        """Close what httpcore 1.0 forgets: a socket whose TLS handshake ran into the deadline."""
        if self._connection is not None and not self._attempt.begun:
            await self._connection.aclose()


def _proxy(url: str, tls: ssl.SSLContext) -> httpx.Proxy:
    # httpcore refuses a context for a proxy that isn't spoken to by TLS.
    return httpx.Proxy(url, ssl_context=tls if httpx.URL(url).scheme == "https" else None)


async def _read(answer: httpx.Response) -> Reply:
    return Reply(
        answer.status_code,
        content_type=answer.headers.get("content-type", ""),
        retry_after=answer.headers.get("retry-after"),
        date=answer.headers.get("date"),
        body=await _beginning(answer),
    )


async def _beginning(answer: httpx.Response) -> bytes:
    """Read at most BODY_LIMIT bytes; a connection with more to come is closed, not drained."""
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    body = b""
    try:
        async for chunk in answer.stream:
            body += chunk
            if len(body) >= BODY_LIMIT:
                break
    finally:
        await answer.stream.aclose()
    return body[:BODY_LIMIT]

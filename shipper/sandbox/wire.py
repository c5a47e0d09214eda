"""How a request is read and how an answer, whole or broken, goes out.

It decides nothing about what is answered; it knows the paths around aiohttp that are needed to
answer badly. Nothing a client sends may raise here.
"""

import asyncio
import socket
import struct
from typing import Final
from urllib.parse import unquote

import orjson
from aiohttp import web

from shipper.sandbox.api import Answer, RequestInfo

# RST instead of FIN when the socket is closed: linger, for no time at all.
_LINGER_NOT_AT_ALL: Final = struct.pack("ii", 1, 0)
_HALF_AN_ANSWER: Final = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 64\r\n\r\n{"
)
_NO_HTTP: Final = b"\x16\x03\x01\x00 this is no HTTP\r\n\r\n"
_RAW: Final = {
    "truncate": _HALF_AN_ANSWER,
    "reset": _HALF_AN_ANSWER,
    "garbage": _NO_HTTP,
}


class Broken(web.Response):
    """An answer that never comes whole: some bytes or none, then the connection ends."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    async def prepare(self, request: web.BaseRequest) -> None:
        """End the connection; raises ConnectionResetError, which aiohttp takes for a lost peer."""
        transport = request.transport
        if transport is not None:
            transport.write(_RAW.get(self._kind, b""))
            if self._kind in {"reset", "outage"}:
                reset(transport)
            else:
                transport.close()
        raise ConnectionResetError(self._kind)


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a TCP reset, whatever is still to be sent."""
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.fileno() >= 0:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
    transport.abort()


def whole(answer: Answer) -> web.Response:
    """Return an answer in aiohttp's terms."""
    return web.Response(status=answer.status, body=answer.body or None, headers=answer.headers)


def is_open(request: web.BaseRequest) -> bool:
    """Return whether the client could still read an answer."""
    return request.transport is not None and not request.transport.is_closing()


def read(request: web.BaseRequest, payload: bytes) -> RequestInfo:
    """Return what a request says, its key decoded and its user found."""
    key = request.headers.get("idempotency-key")
    return RequestInfo(
        method=request.method,
        path=_clean(request.path),
        key=None if key is None else unquote(_clean(key)),
        user=user_of(payload),
        payload=payload,
        headers=request.headers,
    )


def user_of(payload: bytes) -> str | None:
    """Return the id of the first `user` in the event's context; None where there is none to read.

    The same that the outbox takes for an ordering key (interface.md, 1).
    """
    try:
        for entry in orjson.loads(payload)["context"]:
            if entry["type"] == "user":
                name = entry["user"]["id"]
                return name if isinstance(name, str) else None
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return None


def _clean(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

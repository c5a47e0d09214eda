"""Read requests, and send complete or broken answers.

It doesn't choose the answer. It knows how to bypass aiohttp, which a broken answer needs. Whatever
a client sends must not raise an exception here.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import orjson
from aiohttp import web

from shipper.sandbox.api import RequestInfo, SandboxAnswer

# A linger time of zero: closing the socket sends RST instead of FIN.
_LINGER_NOT_AT_ALL: Final = struct.pack("ii", 1, 0)
_HALF_AN_ANSWER: Final = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 64\r\n\r\n{"
)
_NO_HTTP: Final = b"\x16\x03\x01\x00 this is not HTTP\r\n\r\n"
_RAW: Final = {
    "truncate": _HALF_AN_ANSWER,
    "reset": _HALF_AN_ANSWER,
    "garbage": _NO_HTTP,
}


class Broken(web.Response):
    """An incomplete answer: a few bytes or none, then the connection ends."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    async def prepare(self, request: web.BaseRequest) -> None:
        """End the connection. Raises ConnectionResetError: aiohttp then treats the peer as lost."""
        transport = request.transport
        if transport is not None:
            transport.write(_RAW.get(self._kind, b""))
            if self._kind in {"reset", "outage"}:
                reset(transport)
            else:
                transport.close()
        raise ConnectionResetError(self._kind)


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a TCP reset and drop unsent bytes."""
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.fileno() >= 0:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
    transport.abort()


def whole(answer: SandboxAnswer) -> web.Response:
    """Return an answer as a response of aiohttp."""
    return web.Response(status=answer.status, body=answer.body or None, headers=answer.headers)


def is_open(request: web.BaseRequest) -> bool:
    """Return whether the client can still read an answer."""
    return request.transport is not None and not request.transport.is_closing()


def read(request: web.BaseRequest, payload: bytes, key_headers: Iterable[str]) -> RequestInfo:
    """Return the parts of a request, with its key decoded and the user of its event.

    The key is in the first of `key_headers` that the request has.
    """
    found = (request.headers.get(name) for name in key_headers)
    key = next((value for value in found if value is not None), None)
    return RequestInfo(
        method=request.method,
        path=_clean(request.path),
        key=None if key is None else unquote(_clean(key)),
        user=user_of(payload),
        payload=payload,
        headers=request.headers,
        target=_clean(request.raw_path),
    )


def user_of(payload: bytes) -> str | None:
    """Return the id of the first `user` in the event's context, or None.

    The outbox derives an event's ordering key in the same way.
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

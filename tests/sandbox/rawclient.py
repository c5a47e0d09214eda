"""A client that shows what is on the wire: the received bytes, and how the connection ended."""

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

EVENTS = "/analytics/v3/events"
VALIDATE = EVENTS + "/validate"
API_ID = "the-api-id-of-these-tests"
DEADLINE = 10.0


def event(user: str = "u1", sku: str = "S-1") -> bytes:
    """Return a valid interact event of a user."""
    body: dict[str, Any] = {
        "type": "interact",
        "interact": {"type": "product", "product": {"sku": sku}},
        "context": [{"type": "user", "user": {"id": user}}],
    }
    return json.dumps(body).encode()


@dataclass(frozen=True)
class Received:
    """All bytes that came, and whether the connection ended with a reset."""

    raw: bytes
    was_reset: bool = False

    @property
    def status(self) -> int:
        """Return the status of the answer."""
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers, their names in lower case."""
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}

    @property
    def body(self) -> bytes:
        """Return the body."""
        return self.raw.partition(b"\r\n\r\n")[2]


def request(
    payload: bytes,
    key: str | None = "u1-000001",
    *,
    path: str = EVENTS,
    method: str = "POST",
    api_id: str | None = API_ID,
) -> bytes:
    """Return the bytes of a request that asks to close the connection."""
    head = [
        f"{method} {path} HTTP/1.1",
        "host: sandbox",
        "connection: close",
        "content-type: application/json",
        f"content-length: {len(payload)}",
    ]
    head += [] if key is None else [f"idempotency-key: {key}"]
    head += [] if api_id is None else [f"x-api-id: {api_id}"]
    return "\r\n".join([*head, "", ""]).encode() + payload


async def connect(
    url: str, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection; raises ConnectionRefusedError if no server listens."""
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)


async def send(url: str, data: bytes, tls: ssl.SSLContext | None = None) -> Received:
    """Send bytes and read to the end of the connection."""
    reader, writer = await connect(url, tls)
    raw = b""
    try:
        async with asyncio.timeout(DEADLINE):
            writer.write(data)
            while chunk := await reader.read(65536):
                raw += chunk
        return Received(raw)
    except ConnectionError:
        return Received(raw, was_reset=True)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)

"""A token endpoint on a real socket, which answers as a test tells it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from urllib.parse import parse_qsl

from tests.destination.servers import Request, Server, Talk, serving


def saying(status: int, body: object, more: str = "") -> bytes:
    """Return an answer with a JSON body, or with bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


@dataclass
class TokenEndpoint:
    """Gives the tokens t1, t2, … unless `answer` says something else."""

    seconds: object = 3600
    answer: Callable[[int], bytes | None] | None = None
    """Returns the answer to the request of this number; None hangs."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    server: Server = field(default_factory=lambda: Server(0, False))

    @property
    def url(self) -> str:
        """Where tokens are."""
        return self.server.url.replace("/v3/events", "/token")

    @property
    def requests(self) -> list[Request]:
        """What it was asked."""
        return self.server.requests

    @property
    def forms(self) -> list[dict[str, str]]:
        """The fields of each request."""
        return [dict(parse_qsl(one.body.decode(), strict_parsing=True)) for one in self.requests]

    async def __call__(self, talk: Talk) -> None:
        """Answer the requests of a connection."""
        while True:
            await talk.request()
            number = len(self.requests)
            self.asked.set()
            await self.gate.wait()
            if self.answer is None:
                await talk.say(saying(200, self.granting(f"t{number}")))
            elif (answer := self.answer(number)) is not None:
                await talk.say(answer)
            else:
                await talk.hang()

    def granting(self, token: str) -> dict[str, object]:
        """Return the fields of an answer with a token."""
        fields: dict[str, object] = {"access_token": token, "token_type": "bearer"}
        return fields if self.seconds is None else {**fields, "expires_in": self.seconds}


@asynccontextmanager
async def granting(
    endpoint: TokenEndpoint | None = None, tls: SSLContext | None = None
) -> AsyncIterator[TokenEndpoint]:
    """Run a token endpoint; its gate is open."""
    endpoint = endpoint or TokenEndpoint()
    endpoint.gate.set()
    async with serving(endpoint, tls) as endpoint.server:
        yield endpoint

"""Somebody who is told of alarms and waits for heartbeats, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Call:
    """One request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        """Return the JSON in it."""
        value: dict[str, Any] = json.loads(self.body)
        return value


class Receiver:
    """Answers everything with `status`; with `stalls` it takes requests and never answers."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.status = 200
        self.stalls = False
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Take a request down."""
        body = await request.read()
        self.calls.append(Call(request.method, request.path_qs, dict(request.headers), body))
        if self.stalls:
            await asyncio.Event().wait()
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})

    def told(self, alarm: str | None = None) -> list[tuple[str, str]]:
        """Return what alarms came, and what was told of them, without what failed."""
        found = [call.told for call in self.calls if call.method == "POST"]
        return [(told["alarm"], told["change"]) for told in found if alarm in {None, told["alarm"]}]

    def beats(self) -> int:
        """Return how many heartbeats came."""
        return sum(call.method == "GET" for call in self.calls)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Give somebody who listens."""
    receiver = Receiver()
    server = web.Server(receiver.answer, handler_cancellation=True, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        listening.close()
        await server.shutdown(0.1)

"""What a peer's handler does: it POSTs with aiohttp, as the bare loop does, and counts."""

import json
import resource
import time
from types import TracebackType
from typing import Self

import aiohttp

_HEADERS = {"content-type": "application/json", "x-api-id": "benchmark"}


class Client:
    """Sends events, and prints at the end what that cost."""

    def __init__(self, url: str, in_flight: int) -> None:
        self._url = url
        self._in_flight = in_flight
        self._accepted = 0

    async def __aenter__(self) -> Self:
        """Begin to measure."""
        connector = aiohttp.TCPConnector(limit=self._in_flight)
        self._session = aiohttp.ClientSession(connector=connector, headers=_HEADERS)
        self._began, self._cpu = time.perf_counter(), time.process_time()
        return self

    async def send(self, event: str, body: bytes) -> None:
        """Send an event; raises RuntimeError if it is refused."""
        headers = {"idempotency-key": event}
        async with self._session.post(self._url, data=body, headers=headers) as reply:
            await reply.read()
            if reply.status != 202:
                raise RuntimeError(f"answered {reply.status}")
        self._accepted += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Print: events, seconds, cpu (seconds), memory (MB, the highest RSS)."""
        del kind, error, trace
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        await self._session.close()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        result = {"events": self._accepted, "seconds": seconds, "cpu": cpu, "memory": memory}
        print(json.dumps(result))

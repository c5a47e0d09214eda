"""The ways to send: our client on both event loops, and the stock one of httpx."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from shipper.destination import Destination
from shipper.policy.outcome import Fault, Invalid, Reply

# For tries that are to run into it; all others get the patience that a loaded machine asks for.
DEADLINE = 0.5
PATIENCE = 10.0
# What a loaded machine may add to a deadline.
GRACE = 1.0


@dataclass(frozen=True)
class Way:
    """A client on an event loop."""

    name: str
    transport: Literal["auto", "httpx"]
    loop: Callable[[], asyncio.AbstractEventLoop]

    def run(self, body: Coroutine[Any, Any, None]) -> None:
        """Run a test in a loop of its own."""
        with asyncio.Runner(loop_factory=self.loop) as runner:
            runner.run(body)

    @asynccontextmanager
    async def to(
        self,
        url: str,
        *,
        timeout: float = PATIENCE,
        ca_file: Path | None = None,
        proxy: str | None = None,
    ) -> AsyncIterator[Destination]:
        """Open a destination, and close it with the block."""
        destination = Destination(
            url=url,
            timeout=timeout,
            max_in_flight=4,
            ca_file=ca_file,
            proxy=proxy,
            transport=self.transport,
        )
        try:
            yield destination
        finally:
            await destination.aclose()


def _ways() -> list[Way]:
    ways = [
        Way("ours", "auto", asyncio.new_event_loop),
        Way("stock", "httpx", asyncio.new_event_loop),
    ]
    try:
        import uvloop
    except ImportError:  # there is no wheel for every machine
        return ways
    return [*ways, Way("ours-uvloop", "auto", uvloop.new_event_loop)]


WAYS = _ways()

OURS = [way for way in WAYS if way.transport == "auto"]

each_way = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
each_of_ours = pytest.mark.parametrize("way", OURS, ids=[way.name for way in OURS])


def words(answer: Reply | Fault | Invalid) -> str:
    """Write an answer as the tables of expectations do: `202`, or `closed maybe`."""
    match answer:
        case Reply(status):
            return str(status)
        case Fault(kind, sent):
            return f"{kind} {sent}"
        case Invalid(cause):
            return cause

"""Stand-ins for a `Destination` whose tries are coroutines."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from shipper.config.secrets import Secrets
from shipper.drain.flights import Flights
from shipper.policy.event import Event


class Sends(Protocol):
    """Whose `send` makes one try."""

    async def send(self, event_id: str, payload: bytes, api_id: str) -> Any:
        """Return the answer to one try."""


class Carrying:
    """Gives a class with `send` what the courier asks a carrier for."""

    def begin(
        self: Sends, event: Event, secrets: Secrets, done: Callable[[Any], None], _until: float
    ) -> asyncio.Task[None]:
        """Begin a try, and call back from the task that made it."""
        return asyncio.create_task(_carry(self, event, secrets, done))

    async def aclose(self) -> None:
        """Close nothing: there was no connection."""


async def _carry(
    carrier: Sends, event: Event, secrets: Secrets, done: Callable[[Any], None]
) -> None:
    try:
        answer = await carrier.send(event.event_id, event.payload, secrets.api_id)
    except Exception as bug:  # noqa: BLE001 - what a carrier reports of its own bugs
        answer = bug
    done(answer)


async def landed(flights: Flights) -> None:
    """Wait for all tries that are under way with a stand-in."""
    await asyncio.gather(*cast("Iterable[asyncio.Task[None]]", flights.under_way.values()))

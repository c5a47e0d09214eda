"""Destinations of kind http, for tests on real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shipper.clock import Clock
from shipper.config.destination import AuthSettings, DestinationSettings, RetrySettings
from shipper.config.secrets import Secrets
from shipper.destination import Destination
from shipper.destination.request import awaited
from shipper.policy.event import Event
from shipper.policy.outcome import Fault, Invalid, Reply

PAYLOAD = b'{"type":"order","order":{"id":1}}'
OAUTH = Secrets(client_secret="wonder+land")


def an_event(event_id: str = "e-1", payload: bytes = PAYLOAD, **more: Any) -> Event:
    """Return an event for the destination `erp`."""
    return Event(1, event_id, "erp", None, payload, **more)


def erp(url: str, transport: Any = "auto", **more: Any) -> DestinationSettings:
    """Return the settings of a destination of kind http."""
    return DestinationSettings("erp", url, kind="http", transport=transport, **more)


def asking(token_url: str, **more: Any) -> dict[str, Any]:
    """Return settings that let a destination ask for tokens, with hardly a pause."""
    auth = AuthSettings("oauth2", token_url=token_url, client_id="alice", **more)
    return {"auth": auth, "retry": RetrySettings(min_delay=0.001)}


@asynccontextmanager
async def opened(
    settings: DestinationSettings, clock: Clock | None = None
) -> AsyncIterator[Destination]:
    """Open a destination, and close it with the block."""
    destination = Destination.of(settings, clock=clock)
    try:
        yield destination
    finally:
        await destination.aclose()


async def sent(
    destination: Destination, secrets: Secrets, event: Event | None = None, **until: float
) -> Reply | Fault | Invalid:
    """Send an event, and return what came of it."""
    event = event or an_event()
    return await awaited(lambda done: destination.begin(event, secrets, done, **until))

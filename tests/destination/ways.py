"""The ways to send: our client on both event loops, and the stock one of httpx.

The faults of a network are tried on both kinds of destination, by `each_way_and_kind`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from shipper.config import DestinationSettings
from shipper.config.http_types import HeaderValue
from shipper.config.secrets import Secrets
from shipper.destination import Destination
from shipper.destination.form import EightSelectForm, Form, HttpForm
from shipper.destination.request import awaited
from shipper.destination.tls import Trust
from shipper.policy.event import Event
from shipper.policy.outcome import Fault, Invalid, Reply, Report, UnderWay

# For tries that are to run into it; all others get the patience that a loaded machine asks for.
DEADLINE = 0.5
PATIENCE = 10.0
# What a loaded machine may add to a deadline.
GRACE = 1.0


class Sender:
    """A destination, for events that are an id and a payload, and secrets that are an API ID."""

    def __init__(self, form: Form, **options: Any) -> None:
        self.destination = Destination(form, **options)
        self.where = self.destination.where
        self.aclose = self.destination.aclose

    def begin(self, event_id: str, payload: bytes, api_id: str, done: Report) -> UnderWay:
        """Begin to send an event."""
        return self.destination.begin(an_event(event_id, payload), secrets_of(api_id), done)

    async def send(self, event_id: str, payload: bytes, api_id: str) -> Reply | Fault | Invalid:
        """Send an event, and return the answer or what went wrong."""
        return await awaited(lambda done: self.begin(event_id, payload, api_id, done))

    async def validate(self, payload: bytes, api_id: str) -> Reply | Fault | Invalid:
        """Let an event be validated."""
        return await self.destination.validate(an_event("", payload), secrets_of(api_id))


def secrets_of(text: str) -> Secrets:
    """Return secrets of which each is this text."""
    return Secrets(api_id=text, headers={"x-api-key": text}, named={"key": text})


def http_form(url: str) -> HttpForm:
    """Return a form of kind http with everything that a template can have."""
    parts = urlsplit(url)
    query = f"{parts.query}&" if parts.query else ""
    base = parts._replace(path=parts.path.rstrip("/") + "/{type}/{event_id}", query="").geturl()
    headers = {"x-api-key": HeaderValue(file=Path("its content is in the secrets"))}
    headers |= {"x-order": HeaderValue(text="no {event_id} of {destination}")}
    whole = f"{base}?{query}k={{secret:key}}"
    return HttpForm(DestinationSettings("default", whole, kind="http", headers=headers))


def an_event(event_id: str, payload: bytes, ordering_key: str | None = None) -> Event:
    """Return an event for the destination `default`."""
    return Event(1, event_id, "default", ordering_key, payload)


@dataclass(frozen=True)
class Way:
    """A client on an event loop."""

    name: str
    transport: Literal["auto", "httpx"]
    loop: Callable[[], asyncio.AbstractEventLoop]
    form: Callable[[str], Form] = EightSelectForm

    def run(self, body: Coroutine[Any, Any, None]) -> None:
        """Run a test in a loop of its own."""
        with asyncio.Runner(loop_factory=self.loop) as runner:
            runner.run(body)

    @asynccontextmanager
    async def to(
        self,
        url: str | Form,
        *,
        timeout: float = PATIENCE,
        ca_file: Path | None = None,
        proxy: str | None = None,
    ) -> AsyncIterator["Sender"]:
        """Open a destination; close it with the block."""
        destination = Sender(
            self.form(url) if isinstance(url, str) else url,
            timeout=timeout,
            max_in_flight=4,
            trust=Trust(ca_file),
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

KINDS = [
    *WAYS,
    *(replace(way, name=f"{way.name}-http", form=http_form) for way in WAYS[:2]),
]

each_way_and_kind = pytest.mark.parametrize("way", KINDS, ids=[way.name for way in KINDS])
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

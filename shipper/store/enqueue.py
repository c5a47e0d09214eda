"""Events into the outbox, in one transaction: what an application's INSERT does, for a person.

All or nothing. It must never change a payload; whether one is fit to be sent was decided before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError, IntegrityError

from shipper.contract.violation import violation
from shipper.errors import InvalidEvent
from shipper.store.transactions import writing

_INSERT = (
    "INSERT INTO shipper_outbox (payload, destination, ordering_key, event_id)"
    " VALUES ({}, :destination, :ordering_key, :event_id) ON CONFLICT (event_id) DO NOTHING"
)
_SQLITE = text(_INSERT.format(":payload"))
_POSTGRES = text(_INSERT.format("CAST(:payload AS json)"))


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What is to be written; what is None gets its value in the database, or a UUID."""

    payload: str
    destination: str
    ordering_key: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The identity of an event in the outbox; `is_new` is False where it was there before."""

    event_id: str
    is_new: bool


def enqueue(engine: Engine, events: Iterable[NewEvent]) -> list[Enqueued]:
    """Write the events in their order and return their identities; commits at the end.

    Raises InvalidEvent when the database refuses one, with its place in the list, and writes none.
    """
    statement = _POSTGRES if engine.dialect.name == "postgresql" else _SQLITE
    written = []
    with writing(engine) as tx:
        for place, event in enumerate(events, 1):
            event_id = event.event_id or str(uuid4())
            values = {
                "payload": event.payload,
                "destination": event.destination,
                "ordering_key": event.ordering_key,
                "event_id": event_id,
            }
            try:
                inserted = tx.execute(statement, values).rowcount
            except (IntegrityError, DataError):
                raise _refused(place) from None  # the driver's words may hold the payload
            written.append(Enqueued(event_id, inserted == 1))
    return written


def _refused(place: int) -> InvalidEvent:
    message = "must be a JSON text, with a key and an id, that the database takes"
    found = violation("", "shipper_outbox#/check", {"event": place}, message)
    return InvalidEvent(f"the database refuses event {place}: it {message}", [found])

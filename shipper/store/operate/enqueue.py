"""Writes events into the outbox for an operator, as an application's INSERT does.

It decides how many events one transaction takes. A few events are one transaction: all or none.
Many events are written in batches, so that no other writer waits for all of them. If the command is
cut off, the operator runs it again, and no event is written twice: the ids of a large import come
from one number, which is stored beside the lease until the import has ended.

It must never change a payload; whether the payload is a valid event was decided before.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID, uuid4, uuid5

from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DataError, IntegrityError

from shipper.contract.violation import violation
from shipper.errors import AccessDenied, InvalidEvent
from shipper.store.db.batches import Batches
from shipper.store.db.dialect import DIALECTS, dialect_of
from shipper.store.db.transactions import writing

AT_ONCE = 200
"""At most this many events, of at most a megabyte together, are one transaction."""
AT_ONCE_BYTES = 1 << 20
SURELY_THE_SAME = 12 * 3600.0
"""If the same events are imported within this many seconds after an import was cut off, it is the
same import. Later it can be a new one, for instance of a nightly job."""
_FORGOTTEN = 30 * 86400.0

_INSERT = (
    "INSERT INTO shipper_outbox (payload, destination, ordering_key, event_id)"
    " VALUES ({}, :destination, :ordering_key, :event_id) ON CONFLICT (event_id) DO NOTHING"
)
_INSERTS = {one.name: text(_INSERT.format(one.new_payload)) for one in DIALECTS.values()}


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to write; the database fills in what is None, and the id is a UUID."""

    payload: str
    destination: str
    ordering_key: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The id of an event in the outbox; `is_new` is False if the event was there before."""

    event_id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Import:
    """A large import: the number that its ids come from, and whether it goes on with an old one.

    `age` is how many seconds ago it began.
    """

    name: str
    seed: UUID
    is_resumed: bool = False
    age: float = 0.0
    can_resume: bool = True
    """False if the database role can only write events, so that the number can't be stored."""


def enqueue(engine: Engine, events: Iterable[NewEvent]) -> list[Enqueued]:
    """Write a few events in their order, all of them or none; return their ids.

    Raises InvalidEvent, with the event's place among them, if the database refuses one.
    """
    with writing(engine) as tx:
        return [_write(tx, event, place, None) for place, event in enumerate(events, 1)]


def enqueue_many(
    engine: Engine, events: Iterable[NewEvent], of: Import
) -> Iterator[list[Enqueued]]:
    """Write the events of an import; yield the ids of each batch after it is committed.

    Raises InvalidEvent, with the event's place among them, if the database refuses one. Then its
    batch isn't written, and the batches before it stay.
    """
    place = 0
    batches = Batches(AT_ONCE)
    for batch in batches.cut(events, _weight, AT_ONCE_BYTES):
        with batches.timing(len(batch)), writing(engine) as tx:
            found = [_write(tx, event, place + n, of) for n, event in enumerate(batch, 1)]
        place += len(batch)
        yield found


def begin(engine: Engine, name: str, now: float, *, anew: bool = False) -> Import:
    """Begin a large import, or go on with the one of that name that was cut off.

    With `anew` the old import is forgotten: its events stay, and all events are written again.

    Raises StoreUnavailable and SchemaError.
    """
    dialect = dialect_of(engine)
    moment = dialect.time.format("now")
    own = str(uuid4())
    values = {"name": f"import {name}", "seed": own, "now": dialect.bind_time(now)}
    forget = {"before": dialect.bind_time(now - _FORGOTTEN)}
    try:
        with writing(engine) as tx:
            tx.execute(_forget(dialect.time.format("before")), forget)
            if anew:
                tx.execute(_END, values)
            before = tx.execute(_seed(dialect.moment.format("acquired_at")), values).one_or_none()
            if before is None:
                tx.execute(_begin(moment), values)
    except AccessDenied:
        return Import(name, uuid4(), can_resume=False)
    if before is None:
        return Import(name, UUID(own))
    age = now - (dialect.wall(before.began) or now)
    return Import(name, UUID(before.owner), is_resumed=True, age=age)


def end(engine: Engine, of: Import) -> None:
    """Note that the import is complete; importing the same events later writes new ones."""
    if of.can_resume:
        with suppress(AccessDenied), writing(engine) as tx:
            tx.execute(_END, {"name": f"import {of.name}"})


def _weight(event: NewEvent) -> int:
    return len(event.payload)


def _write(tx: Connection, event: NewEvent, place: int, of: Import | None) -> Enqueued:
    statement = _INSERTS[dialect_of(tx).name]
    event_id = event.event_id or str(uuid4() if of is None else uuid5(of.seed, str(place)))
    values = {
        "payload": event.payload,
        "destination": event.destination,
        "ordering_key": event.ordering_key,
        "event_id": event_id,
    }
    try:
        inserted = tx.execute(statement, values).rowcount
    except (IntegrityError, DataError):
        raise _refused(place) from None  # the driver's message may contain the payload
    return Enqueued(event_id, inserted == 1)


def _refused(place: int) -> InvalidEvent:
    message = "must be a JSON text, with a key and an id, that the database takes"
    found = violation("", "shipper_outbox#/check", {"event": place}, message)
    return InvalidEvent(f"the database refuses event {place}: it {message}", [found])


# -- statements ---------------------------------------------------------------------------------


def _begin(moment: str) -> TextClause:
    return text(
        "INSERT INTO shipper_lease (name, owner, acquired_at)"
        f" VALUES (:name, CAST(:seed AS text), {moment})"
    )


def _forget(before: str) -> TextClause:
    return text(f"DELETE FROM shipper_lease WHERE name LIKE 'import %' AND acquired_at < {before}")


def _seed(began: str) -> TextClause:
    return text(f"SELECT owner, {began} AS began FROM shipper_lease WHERE name = :name")


_END = text("DELETE FROM shipper_lease WHERE name = :name")

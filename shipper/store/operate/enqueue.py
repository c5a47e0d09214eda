"""Events into the outbox for a person: what an application's INSERT does, once or a million times.

A few are written in one transaction: all or none. Of many, nobody may wait for the last, so they go
in batches; whoever is cut off does the same again, and no event is written twice. For that the ids
of a large import come from one number, which lies beside the lease until the import is over. It
must never change a payload; whether one is fit to be sent was decided before.
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
"""So many events, of a megabyte together, are one transaction."""
AT_ONCE_BYTES = 1 << 20
SURELY_THE_SAME = 12 * 3600.0
"""The same events within so many seconds of an import that was cut off are that import; later they
may be meant anew, by a job of every night, say."""
_FORGOTTEN = 30 * 86400.0

_INSERT = (
    "INSERT INTO shipper_outbox (payload, destination, ordering_key, event_id)"
    " VALUES ({}, :destination, :ordering_key, :event_id) ON CONFLICT (event_id) DO NOTHING"
)
_INSERTS = {one.name: text(_INSERT.format(one.new_payload)) for one in DIALECTS.values()}


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


@dataclass(frozen=True, slots=True)
class Import:
    """A large import: the number that its ids come from, and whether one was cut off before.

    `age` is how many seconds ago it began.
    """

    name: str
    seed: UUID
    is_resumed: bool = False
    age: float = 0.0
    can_resume: bool = True
    """False where this role may only write events, so that nobody knows of it afterwards."""


def enqueue(engine: Engine, events: Iterable[NewEvent]) -> list[Enqueued]:
    """Write a few events in their order, all of them or none; return their identities.

    Raises InvalidEvent when the database refuses one, with its place among them.
    """
    with writing(engine) as tx:
        return [_write(tx, event, place, None) for place, event in enumerate(events, 1)]


def enqueue_many(
    engine: Engine, events: Iterable[NewEvent], of: Import
) -> Iterator[list[Enqueued]]:
    """Write the events of an import; yield the identities of each batch once it is committed.

    Raises InvalidEvent when the database refuses one, with its place among them: nothing of its
    batch is written, and what was yielded stays.
    """
    place = 0
    batches = Batches(AT_ONCE)
    for batch in batches.cut(events, _weight, AT_ONCE_BYTES):
        with batches.timing(len(batch)), writing(engine) as tx:
            found = [_write(tx, event, place + n, of) for n, event in enumerate(batch, 1)]
        place += len(batch)
        yield found


def begin(engine: Engine, name: str, now: float, *, anew: bool = False) -> Import:
    """Begin a large import, or go on with the one of that name which was cut off.

    With `anew` that one is forgotten: what it has written stays, and is written once more.

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
    """Take note that all of it is written: whoever gives the same again, means new events."""
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
        raise _refused(place) from None  # the driver's words may hold the payload
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

"""Moving house: undelivered events leave one outbox, and another takes them in.

It decides that no event is ever sent from two houses. Whoever hands events over takes the outbox
as a daemon does, so nothing is on its way meanwhile; they are safe in the hands of `keep` before
the first is marked, and only those that are in there are marked: as discarded, "handed over". If
that is cut off, what isn't marked yet is still pending, and may be handed over once more: the new
house takes no event twice. What was committed later than the last one that is seen here stays.

The new house gives ids and times of its own. It must never change a payload, keep anybody waiting
for more than a batch, or hold more than a page of events in memory, however many they are.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from sqlalchemy import Connection, Engine, Row, TextClause, text
from sqlalchemy.exc import DataError, IntegrityError

from shipper.contract.violation import violation
from shipper.errors import InvalidEvent, UsageError
from shipper.store.db.batches import Batches
from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.paging import matching
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import asked, snapshot, written
from shipper.store.db.transactions import writing
from shipper.store.drain.queue import Queue
from shipper.store.lease.turns import fold_all
from shipper.store.operate.acts import release_dead
from shipper.store.operate.discard import taken
from shipper.store.operate.enqueue import AT_ONCE, AT_ONCE_BYTES

HANDED_OVER = "handed over"

# Events that are in memory at a time; each has a payload of 1 MiB at most.
_PAGE = 100
_PAGES_A_RENEWAL = 10
_NOTES_READ = 8 * 1000
# Beyond so many nobody reads their names.
_DESTINATIONS_NOTED = 1000
# A longer key was derived from the payload, and will be again; the outbox takes none from outside.
_KEY_CHARS = 255


@dataclass(frozen=True, slots=True)
class Carried:
    """An event between two outboxes. `created_at` is in seconds since 1970.

    `id`, `created_at` and `status` are those of the old house. A key that isn't UTF-8 has
    surrogate escapes.
    """

    id: int
    event_id: str
    destination: str
    ordering_key: str | None
    created_at: float
    status: str
    maybe_received: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class TakenIn:
    """How many events were written, how many were there before, and where they all go."""

    new: int
    known: int
    destinations: tuple[str, ...]


def undelivered(engine: Engine, selection: Selection) -> Iterator[list[Carried]]:
    """Yield the events that fit, in the order of id, a page at a time; between two nothing is open.

    What is written from now on isn't meant. Raises StoreUnavailable, AccessDenied, SchemaError.
    """
    dialect = dialect_of(engine)
    condition, values = selection.where(dialect)
    page = _page(dialect, condition)
    ids = matching(engine, dialect, condition, values)
    while some := list(islice(ids, _PAGE)):
        with snapshot(engine) as tx:
            rows = tx.execute(page, values | {"page": dialect.bind_ids(some)}).all()
        if rows:
            yield [_carried(dialect, row) for row in rows]


def hand_over(
    engine: Engine,
    selection: Selection,
    path: Path | None,
    keep: Callable[[Iterator[list[Carried]]], None],
) -> int:
    """Give the events that fit to `keep`, then mark them; return how many. `path` is the file's.

    `keep` returns only when all of them are safe; with the last page, which is empty, it brings to
    the disk what it has, and makes it known only after that. Raises OutboxHeld while a daemon
    ships, LeaseLost when another has taken over meanwhile, and whatever `keep` raises.
    """
    dialect, batches, marked = dialect_of(engine), Batches(), 0
    with taken(engine, path) as queue, TemporaryFile() as noted:
        keep(_noted(undelivered(engine, selection), noted, queue))
        noted.seek(0)
        for ids in batches.cut(_read(noted)):
            with batches.timing(len(ids)):
                marked += _mark(engine, dialect, queue, ids)
    return marked


def take_in(engine: Engine, events: Iterable[Carried]) -> TakenIn:
    """Write the events in their order, in batches; one that is there stays as it is.

    A few are all of them or none. Of many, what was written before something came between stays,
    and who gives the same again goes on with the rest. Raises InvalidEvent when the database
    refuses one, with its place among them.
    """
    dialect = dialect_of(engine)
    insert = _insert(dialect)
    place = new = 0
    destinations: set[str] = set()
    batches = Batches(AT_ONCE)
    for batch in batches.cut(events, lambda event: len(event.payload), AT_ONCE_BYTES):
        with batches.timing(len(batch)), writing(engine) as tx:
            try:
                fresh = [_take_in(tx, dialect, insert, event, place + n)
                         for n, event in enumerate(batch, 1)]  # fmt: skip
            except InvalidEvent as error:
                raise _cut_short(error, place) from None
        place, new = place + len(batch), new + sum(fresh)
        _note_destinations(destinations, batch)
    return TakenIn(new, place - new, tuple(sorted(destinations)))


def _take_in(
    tx: Connection, dialect: Dialect, insert: TextClause, event: Carried, place: int
) -> bool:
    """Write an event; return whether it is new."""
    try:
        is_new = tx.execute(insert, _values(dialect, event)).rowcount == 1
    except (IntegrityError, DataError, UnicodeError, UsageError):
        raise _refused(place) from None  # the driver's words may hold the payload
    if is_new and not _has_key(tx, dialect, event):
        raise _refused(place)
    return is_new


def _note_destinations(noted: set[str], batch: Iterable[Carried]) -> None:
    for event in batch:
        if len(noted) < _DESTINATIONS_NOTED:
            noted.add(event.destination)


def _cut_short(error: InvalidEvent, before: int) -> InvalidEvent:
    """Return the refusal with what was written before it."""
    if not before:
        return error
    return InvalidEvent(
        f"{error.message}; the {before} before it are written",
        error.violations,
        "put it right and do the same again: none is written twice",
    )


def _noted(
    pages: Iterator[list[Carried]], noted: IO[bytes], queue: Queue
) -> Iterator[list[Carried]]:
    """Pass the pages on, and note the ids on disk: only what was passed on may be marked."""
    for number, page in enumerate(pages, 1):
        noted.write(array("q", [event.id for event in page]).tobytes())
        yield page
        if number % _PAGES_A_RENEWAL == 0:
            queue.renew()
    # To bring it to the disk may take longer than the lease: nobody else may ship from here by now.
    yield []
    queue.renew()


def _read(noted: IO[bytes]) -> Iterator[int]:
    while some := noted.read(_NOTES_READ):
        yield from array("q", some)


def _mark(engine: Engine, dialect: Dialect, queue: Queue, ids: list[int]) -> int:
    values = {"ids": dialect.bind_ids(ids)}
    with writing(engine) as tx:
        queue.fence(tx)
        fold_all(tx)
        found = tx.execute(_undelivered_among(dialect), values).all()
        tx.execute(_discard(dialect), values)
        tx.execute(release_dead(dialect), values)
        dead = Counter(row.destination for row in found if row.status == "dead")
        for name, events in sorted(Counter(row.destination for row in found).items()):
            tx.execute(_COUNT, {"name": name, "events": events, "dead": dead[name]})
    return len(found)


def _carried(dialect: Dialect, row: Row[Any]) -> Carried:
    return Carried(
        id=row.id,
        event_id=dialect.text(row.event_id),
        destination=dialect.text(row.destination),
        ordering_key=dialect.text(row.ordering_key),
        created_at=dialect.wall(row.created_at) or 0.0,
        status=row.status,
        maybe_received=bool(row.maybe_received),
        payload=bytes(row.payload),
    )


def _is_derived(key: str | None) -> bool:
    return key is not None and len(key) > _KEY_CHARS


def _has_key(tx: Connection, dialect: Dialect, event: Carried) -> bool:
    """Return whether an event that was just written is of the lane that it was of before."""
    if not _is_derived(event.ordering_key):
        return True
    values = {"event_id": asked(dialect, event.event_id)}
    return dialect.text(tx.execute(_key_of(dialect), values).scalar()) == event.ordering_key


def _values(dialect: Dialect, event: Carried) -> dict[str, Any]:
    key = None if _is_derived(event.ordering_key) else event.ordering_key
    return {
        "payload": dialect.bind_payload(event.payload),
        "destination": asked(dialect, event.destination),
        "ordering_key": None if key is None else asked(dialect, key),
        "event_id": asked(dialect, event.event_id),
    }


def _refused(place: int) -> InvalidEvent:
    message = "must be what this database takes: a JSON text in UTF-8, a key, an id"
    found = violation("", "shipper_outbox#/check", {"event": place}, message)
    return InvalidEvent(f"the database refuses event {place}: it {message}", [found])


# -- statements ---------------------------------------------------------------------------------


def _page(dialect: Dialect, condition: str) -> TextClause:
    names = ("event_id", "destination", "ordering_key")
    texts = ", ".join(f"{written(dialect, name)} AS {name}" for name in names)
    return text(
        f"SELECT id, {texts}, {dialect.moment.format('created_at')} AS created_at, status,"
        f" maybe_received, {dialect.whole_payload} AS payload FROM shipper_outbox{dialect.by_id}"
        f" WHERE id IN {dialect.ids.replace(':ids', ':page')} AND {condition} ORDER BY id"
    )


def _insert(dialect: Dialect) -> TextClause:
    return text(
        # Whether it may have been received is of its old house: here it would go before events of
        # its key that are older, and so out of order. Whoever has received it knows its event_id.
        "INSERT INTO shipper_outbox (payload, destination, ordering_key, event_id)"
        f" VALUES ({dialect.new_payload}, CAST(:destination AS text),"
        " CAST(:ordering_key AS text), CAST(:event_id AS text))"
        " ON CONFLICT (event_id) DO NOTHING"
    )


def _key_of(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT {written(dialect, 'ordering_key')} FROM shipper_outbox"
        " WHERE event_id = CAST(:event_id AS text)"
    )


def _undelivered_among(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT status, {written(dialect, 'destination')} AS destination"
        f" FROM shipper_outbox{dialect.by_id}"
        f" WHERE id IN {dialect.ids} AND status IN ('pending', 'dead')"
    )


def _discard(dialect: Dialect) -> TextClause:
    return text(
        f"UPDATE shipper_outbox{dialect.by_id} SET status = 'discarded', next_attempt_at = NULL,"
        f" last_status_code = NULL, last_error = '{HANDED_OVER}'"
        f" WHERE id IN {dialect.ids} AND status IN ('pending', 'dead')"
    )


_COUNT = text(
    "INSERT INTO shipper_destination (name, discarded) VALUES (CAST(:name AS text), :events)"
    " ON CONFLICT (name) DO UPDATE SET"
    " discarded = shipper_destination.discarded + excluded.discarded,"
    " dead = shipper_destination.dead - :dead"
)

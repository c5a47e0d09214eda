"""Moves undelivered events to another outbox: `events export --hand-over`, then `enqueue --rows`.

It decides that no event is ever sent from two outboxes. The export takes the outbox as a daemon
does, so nothing is in flight meanwhile. First `keep` stores the events safely; then the export
marks exactly the stored events as discarded, "handed over". If it is cut off, the events that
aren't marked are still pending and can be exported again: the other outbox takes no event twice.
Events that commit after the last exported one stay.

The other outbox gives new ids and times. The move must never change a payload, never keep another
writer waiting for more than a batch, and never have more than a page of events in memory.
"""

from array import array
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
from shipper.store.operate.bookkeeping import among, count_changed, release_dead
from shipper.store.operate.enqueue import AT_ONCE, AT_ONCE_BYTES
from shipper.store.operate.take_outbox import taken

HANDED_OVER = "handed over"
"""The `last_error` of an event that was moved to another outbox."""

# Events that are in memory at a time; each has a payload of at most 1 MiB.
_PAGE = 100
_PAGES_A_RENEWAL = 10
_NOTES_READ = 8 * 1000
# No operator reads the names of more destinations.
_DESTINATIONS_NOTED = 1000
# A longer key was derived from the payload, and will be again: an INSERT can't supply one.
_KEY_CHARS = 255


@dataclass(frozen=True, slots=True)
class MovedEvent:
    """An event between two outboxes. `created_at` is in seconds since 1970.

    `id`, `created_at` and `status` are those of the old outbox. A key that isn't UTF-8 has
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
class MovedIn:
    """How many events were written, how many were there before, and their destinations."""

    new: int
    known: int
    destinations: tuple[str, ...]


def undelivered(engine: Engine, selection: Selection) -> Iterator[list[MovedEvent]]:
    """Yield the events that fit in pages, in the order of id; no transaction stays open.

    Events that are written from now on aren't included. Raises StoreUnavailable, AccessDenied and
    SchemaError.
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


def move_out(
    engine: Engine,
    selection: Selection,
    path: Path | None,
    keep: Callable[[Iterator[list[MovedEvent]]], None],
) -> int:
    """Give the events that fit to `keep`, then mark them; return how many were marked.

    `keep` returns only after all of them are safe. The last page is empty: with it, `keep` brings
    the events to the disk, and publishes them only after that. `path` is the SQLite file's. Raises
    OutboxHeld while a daemon ships, LeaseLost if another process has taken over meanwhile, and
    whatever `keep` raises.
    """
    dialect, batches, marked = dialect_of(engine), Batches(), 0
    with taken(engine, path) as queue, TemporaryFile() as noted:
        keep(_noted(undelivered(engine, selection), noted, queue))
        noted.seek(0)
        for ids in batches.cut(_read(noted)):
            with batches.timing(len(ids)):
                marked += _mark(engine, dialect, queue, ids)
    return marked


def move_in(engine: Engine, events: Iterable[MovedEvent]) -> MovedIn:
    """Write the events in their order, in batches; an event that is there already stays as it is.

    A few events are one batch: all or none. Of many, the batches before a failure stay; to go on,
    give the same events again. Raises InvalidEvent, with the event's place among them, if the
    database refuses one.
    """
    dialect = dialect_of(engine)
    insert = _insert(dialect)
    place = new = 0
    destinations: set[str] = set()
    batches = Batches(AT_ONCE)
    for batch in batches.cut(events, lambda event: len(event.payload), AT_ONCE_BYTES):
        with batches.timing(len(batch)), writing(engine) as tx:
            try:
                fresh = [_write(tx, dialect, insert, event, place + n)
                         for n, event in enumerate(batch, 1)]  # fmt: skip
            except InvalidEvent as error:
                raise _cut_short(error, place) from None
        place, new = place + len(batch), new + sum(fresh)
        _note_destinations(destinations, batch)
    return MovedIn(new, place - new, tuple(sorted(destinations)))


def _write(
    tx: Connection, dialect: Dialect, insert: TextClause, event: MovedEvent, place: int
) -> bool:
    """Write an event; return whether it is new."""
    try:
        is_new = tx.execute(insert, _values(dialect, event)).rowcount == 1
    except (IntegrityError, DataError, UnicodeError, UsageError):
        raise _refused(place) from None  # the driver's message may contain the payload
    if is_new and not _has_key(tx, dialect, event):
        raise _refused(place)
    return is_new


def _note_destinations(noted: set[str], batch: Iterable[MovedEvent]) -> None:
    for event in batch:
        if len(noted) < _DESTINATIONS_NOTED:
            noted.add(event.destination)


def _cut_short(error: InvalidEvent, before: int) -> InvalidEvent:
    """Return the refusal, with how many events were written before it."""
    if not before:
        return error
    return InvalidEvent(
        f"{error.message}; the {before} before it are written",
        error.violations,
        "correct the event and run the same command again: no event is written twice",
    )


def _noted(
    pages: Iterator[list[MovedEvent]], noted: IO[bytes], queue: Queue
) -> Iterator[list[MovedEvent]]:
    """Pass the pages on and note their ids on disk: only these events are marked later."""
    for number, page in enumerate(pages, 1):
        noted.write(array("q", [event.id for event in page]).tobytes())
        yield page
        if number % _PAGES_A_RENEWAL == 0:
            queue.renew()
    # Bringing the events to the disk may take longer than the lease: no daemon may have taken over.
    yield []
    queue.renew()


def _read(noted: IO[bytes]) -> Iterator[int]:
    while some := noted.read(_NOTES_READ):
        yield from array("q", some)


def _mark(engine: Engine, dialect: Dialect, queue: Queue, ids: list[int]) -> int:
    values = {"ids": dialect.bind_ids(ids)}
    with writing(engine) as tx:
        queue.fence(tx)
        found = tx.execute(among(dialect, "pending", "dead"), values).all()
        tx.execute(_discard(dialect), values)
        tx.execute(release_dead(dialect), values)
        count_changed(tx, dialect, found, discarded=True)
    return len(found)


def _carried(dialect: Dialect, row: Row[Any]) -> MovedEvent:
    return MovedEvent(
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


def _has_key(tx: Connection, dialect: Dialect, event: MovedEvent) -> bool:
    """Return whether an event that was just written has the key that it had before."""
    if not _is_derived(event.ordering_key):
        return True
    values = {"event_id": asked(dialect, event.event_id)}
    return dialect.text(tx.execute(_key_of(dialect), values).scalar()) == event.ordering_key


def _values(dialect: Dialect, event: MovedEvent) -> dict[str, Any]:
    key = None if _is_derived(event.ordering_key) else event.ordering_key
    return {
        "payload": dialect.bind_payload(event.payload),
        "destination": asked(dialect, event.destination),
        "ordering_key": None if key is None else asked(dialect, key),
        "event_id": asked(dialect, event.event_id),
    }


def _refused(place: int) -> InvalidEvent:
    message = "must be a JSON text in UTF-8, with a key and an id, that the database takes"
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
        # `maybe_received` isn't taken over: the event would go before older events of its key here,
        # so out of order. A receiver that has it already recognises its event_id.
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


def _discard(dialect: Dialect) -> TextClause:
    return text(
        f"UPDATE shipper_outbox{dialect.by_id} SET status = 'discarded', next_attempt_at = NULL,"
        f" last_status_code = NULL, last_error = '{HANDED_OVER}'"
        f" WHERE id IN {dialect.ids} AND status IN ('pending', 'dead')"
    )

"""Giving up events that are still pending: what a restored copy, or a wrong import, would send.

It decides that nobody ships meanwhile: whoever does this takes the outbox as a daemon does, lock
and lease and all, so that no event is given up while it is on its way. It must never touch an
event that isn't pending, and never keep an application waiting: one transaction moves at most a
thousand.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from sqlalchemy import Engine, text

from shipper.errors import OutboxHeld
from shipper.store.dialect import Dialect, dialect_of
from shipper.store.lease import FileLock, Owner
from shipper.store.queue import Queue
from shipper.store.selection import Selection
from shipper.store.snapshot import snapshot, written
from shipper.store.transactions import writing

BATCH = 1000
SAMPLES = 3

# Seconds for which the outbox is taken at a time: much more than one transaction takes.
_LEASE = 60.0
# Seconds between two looks at a lease whose holder seems to be gone.
_WATCH_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """How many pending events fit, and the smallest ids among them."""

    count: int
    samples: tuple[int, ...]


def find_pending(engine: Engine, selection: Selection) -> Found:
    """Return what `give_up` would give up; raises StoreUnavailable, AccessDenied, SchemaError."""
    condition, values = replace(selection, status="pending").where(dialect_of(engine.dialect.name))
    found = f"FROM shipper_outbox WHERE {condition}"
    with snapshot(engine) as tx:
        count = tx.execute(text(f"SELECT count(*) {found}"), values).scalar_one()
        samples = tx.execute(text(f"SELECT id {found} ORDER BY id LIMIT {SAMPLES}"), values)
        return Found(count, tuple(samples.scalars()))


def give_up(engine: Engine, selection: Selection, path: Path | None) -> int:
    """Discard the pending events that fit, and return how many; `path` is the SQLite file.

    What is written from now on isn't meant. Raises OutboxHeld while a daemon ships.
    """
    dialect = dialect_of(engine.dialect.name)
    given_up = 0
    with taken(engine, path) as queue:
        with snapshot(engine) as tx:
            last = tx.execute(text("SELECT max(id) FROM shipper_outbox")).scalar() or 0
        while gone := _give_up_page(engine, queue, dialect, selection, last):
            given_up += gone
    return given_up


@contextmanager
def taken(engine: Engine, path: Path | None) -> Iterator[Queue]:
    """Take the outbox for a minute as a daemon does; whoever needs longer renews the lease.

    Raises OutboxHeld while a daemon ships. One on another machine whose lease is over is watched
    first, for as long as that was: the server's clock may have been set.
    """
    lock = None if path is None else FileLock(path)
    if lock is not None:
        lock.acquire()
    try:
        queue = Queue(engine, lease_ttl=_LEASE)
        # What a daemon that died may have sent is marked by this, and its claims are over.
        while not _acquires(queue):
            pass
        try:
            yield queue
        finally:
            queue.release()
    finally:
        if lock is not None:
            lock.release()


def _acquires(queue: Queue) -> bool:
    """Take the outbox; return False where its holder seems to be gone, and has to be watched."""
    try:
        queue.acquire(Owner.here())
    except OutboxHeld as held:
        if not held.seems_over:
            raise
        Event().wait(min(_WATCH_EVERY, held.left))
        return False
    return True


def _give_up_page(
    engine: Engine, queue: Queue, dialect: Dialect, selection: Selection, last: int
) -> int:
    condition, values = replace(selection, status="pending").where(dialect)
    page = text(
        f"SELECT id, {written(dialect, 'destination')} AS destination FROM shipper_outbox"
        f" WHERE {condition} AND id <= :last ORDER BY id LIMIT {BATCH}"
    )
    discard = text(
        f"UPDATE shipper_outbox{dialect.by_id} SET status = 'discarded', next_attempt_at = NULL"
        f" WHERE id IN {dialect.ids} AND status = 'pending'"
    )
    with writing(engine) as tx:
        queue.fence(tx)
        rows = tx.execute(page, values | {"last": last}).all()
        if rows:
            tx.execute(discard, {"ids": dialect.bind_ids([row.id for row in rows])})
        for name, count in sorted(Counter(row.destination for row in rows).items()):
            tx.execute(_COUNT, {"name": name, "events": count})
    return len(rows)


_COUNT = text(
    "INSERT INTO shipper_destination (name, discarded) VALUES (CAST(:name AS text), :events)"
    " ON CONFLICT (name) DO UPDATE SET"
    " discarded = shipper_destination.discarded + excluded.discarded"
)

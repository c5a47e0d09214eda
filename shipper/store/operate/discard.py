"""Giving up events that are still pending: what a restored copy, or a wrong import, would send.

It decides that no event is given up while it is on its way: what a daemon has claimed is recalled
first (`recalling`). It must never touch an event that isn't pending.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from shipper.errors import OutboxHeld
from shipper.store.db.dialect import dialect_of
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import snapshot
from shipper.store.drain.queue import Queue
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.lease import Owner
from shipper.store.operate.acts import touch
from shipper.store.operate.recall import Recall, Step

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
    condition, values = replace(selection, status="pending").where(dialect_of(engine))
    found = f"FROM shipper_outbox WHERE {condition}"
    with snapshot(engine) as tx:
        count = tx.execute(text(f"SELECT count(*) {found}"), values).scalar_one()
        samples = tx.execute(text(f"SELECT id {found} ORDER BY id LIMIT {SAMPLES}"), values)
        return Found(count, tuple(samples.scalars()))


def give_up(engine: Engine, selection: Selection) -> Iterator[Step]:
    """Discard the pending events that fit, in the steps of a `Recall`."""
    dialect = dialect_of(engine)
    condition, values = replace(selection, status="pending").where(dialect)
    discard = text(
        f"UPDATE shipper_outbox{dialect.by_id} SET status = 'discarded', next_attempt_at = NULL"
        f" WHERE id IN {dialect.ids} AND status = 'pending'"
    )

    def change(tx: Connection, rows: Sequence[Row[Any]]) -> None:
        ids = [row.id for row in rows]
        tx.execute(discard, {"ids": dialect.bind_ids(ids)})
        touch(tx, dialect, ids)
        for name, count in sorted(Counter(row.destination for row in rows).items()):
            tx.execute(_COUNT, {"name": name, "events": count})

    return Recall(dialect, condition, values, change, by_key=False).steps(engine)


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


_COUNT = text(
    "INSERT INTO shipper_destination (name, discarded) VALUES (CAST(:name AS text), :events)"
    " ON CONFLICT (name) DO UPDATE SET"
    " discarded = shipper_destination.discarded + excluded.discarded"
)

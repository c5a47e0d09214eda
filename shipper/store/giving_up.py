"""Giving up events that are still pending: what a restored copy, or a wrong import, would send.

It decides that nobody ships meanwhile: whoever does this takes the outbox as a daemon does, lock
and lease and all, so that no event is given up while it is on its way. It must never touch an
event that isn't pending, and never keep an application waiting: one transaction moves as many as
fit into its time (see `batches`).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from shipper.store.batches import Turns
from shipper.store.dialect import Dialect, dialect_of
from shipper.store.file_lock import FileLock
from shipper.store.lease import Owner
from shipper.store.paging import matching
from shipper.store.queue import Queue
from shipper.store.selection import Selection
from shipper.store.snapshot import snapshot, written
from shipper.store.transactions import writing

SAMPLES = 3

# Seconds for which the outbox is taken at a time: much more than one transaction takes.
_LEASE = 60.0


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
        turns = Turns()
        meant = matching(engine, dialect, *replace(selection, status="pending").where(dialect))
        for ids in turns.cut(meant):
            with turns.timing(len(ids)), writing(engine) as tx:
                queue.fence(tx)
                given_up += _discard(tx, dialect, ids)
    return given_up


@contextmanager
def taken(engine: Engine, path: Path | None) -> Iterator[Queue]:
    """Take the outbox for a minute as a daemon does; whoever needs longer renews the lease.

    Raises OutboxHeld while a daemon ships.
    """
    lock = None if path is None else FileLock(path)
    if lock is not None:
        lock.acquire()
    try:
        queue = Queue(engine, lease_ttl=_LEASE)
        # What a daemon that died may have sent is marked by this, and its claims are over.
        queue.acquire(Owner.here())
        try:
            yield queue
        finally:
            queue.release()
    finally:
        if lock is not None:
            lock.release()


def _discard(tx: Connection, dialect: Dialect, ids: list[int]) -> int:
    pending = f"WHERE id IN {dialect.ids} AND status = 'pending'"
    by_id = f"shipper_outbox{dialect.by_id}"
    looked = text(f"SELECT {written(dialect, 'destination')} FROM {by_id} {pending}")
    values = {"ids": dialect.bind_ids(ids)}
    places = Counter(tx.execute(looked, values).scalars())
    discard = f"UPDATE {by_id} SET status = 'discarded', next_attempt_at = NULL {pending}"
    tx.execute(text(discard), values)
    for name, count in sorted(places.items()):
        tx.execute(_COUNT, {"name": name, "events": count})
    return places.total()


_COUNT = text(
    "INSERT INTO shipper_destination (name, discarded) VALUES (CAST(:name AS text), :events)"
    " ON CONFLICT (name) DO UPDATE SET"
    " discarded = shipper_destination.discarded + excluded.discarded"
)

"""That a daemon ships nothing because it can't write: for those who only see that it runs.

Of a server's outbox its lease tells, which it can't prolong. Beside an SQLite file the kernel holds
its lock whatever it can write, so it is noted there, in the lock's file, whose room is taken while
all is well: a full disk must not be in the way of saying so. What is read there anybody may have
written who may write to the outbox; it must never be followed to another file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import orjson
from sqlalchemy import Engine, text

from shipper.files import Directory, followed
from shipper.store.dialect import dialect_of
from shipper.store.file_lock import FileLock
from shipper.store.lease import Owner
from shipper.store.snapshot import snapshot

_SIZE: Final = 1024
# In JSON it has room in that, with all else of a note, whatever its characters are.
_REASON: Final = 100
# A lease is prolonged when a third of its time is over, by a drain that turns every 15 s at least.
_SILENT: Final = 0.8


class Plight(NamedTuple):
    """For how many seconds a daemon hasn't been able to write, and why, as far as is known."""

    seconds: float
    reason: str


def note(database: Path, since: float | None, reason: str = "") -> None:
    """Note beside an SQLite file since when it can't be written; None for all is well.

    The daemon's alone, which has the lock. Nobody depends on it: it raises nothing.
    """
    told = {} if since is None else {"since": since, "reason": reason[:_REASON]}
    with suppress(OSError), _opened(database, os.O_RDWR) as file:
        os.pwrite(file, orjson.dumps(told).ljust(_SIZE - 1) + b"\n", 0)


def noted(database: Path, now: float) -> Plight | None:
    """Return what is noted beside an SQLite file whose lock is held."""
    try:
        with _opened(database, os.O_RDONLY) as file:
            told = orjson.loads(os.pread(file, _SIZE, 0) or b"{}")
        return Plight(max(0.0, now - float(told["since"])), str(told["reason"])[:_REASON])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def plight(engine: Engine, now: float) -> Plight | None:
    """Return what a daemon that holds the outbox suffers from; None where it can write."""
    if dialect_of(engine.dialect.name).name == "sqlite":
        file = followed(engine.get_execution_options()["file"])
        return noted(file, now) if FileLock(file).is_held() else None
    with snapshot(engine) as tx:
        row = tx.execute(_SILENCE).one_or_none()
    owner = None if row is None else Owner.read(row.owner)
    if row is None or owner is None or owner.is_dead() or row.silence < _SILENT * row.ttl:
        return None
    reason = f"{owner} has not prolonged its lease; it can't reach the server, or hangs, or is dead"
    return Plight(row.silence, reason)


@contextmanager
def _opened(database: Path, mode: int) -> Iterator[int]:
    path = FileLock(database).path
    with Directory(path.parent) as directory:
        file = directory.open(path.name, mode)
    try:
        yield file
    finally:
        os.close(file)


_SILENCE = text(
    "SELECT owner, ttl, ttl + CAST(extract(epoch FROM clock_timestamp() - expires_at)"
    " AS double precision) AS silence FROM shipper_lease"
    " WHERE name = 'outbox' AND owner IS NOT NULL AND expires_at IS NOT NULL"
)

"""That a daemon ships nothing because it can't write: for those who only see that it runs.

Of a server's outbox its lease tells, which it can't prolong. Beside an SQLite file the kernel holds
its lock whatever it can write, and also while it is stopped (SIGSTOP, Ctrl-Z) or hangs. So it is
noted there, in the lock's file, that it lives, or since when it can't write; the room for that is
taken while all is well: a full disk must not be in the way of saying so. Times are of the clock
that counts from the boot of the machine, which nobody sets: whoever takes the lock wipes out what
another one had noted, so what is there is of this boot. What is read there anybody may have written
who may write to the outbox; it must never be followed to another file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import orjson
from sqlalchemy import Engine, text

from shipper.clock import SystemClock
from shipper.store.db.dialect import dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.lease.file_lock import NOTE_SIZE, FileLock
from shipper.store.lease.lease import Owner
from shipper.system.files import Directory, followed
from shipper.wording.quantities import lasting

# In JSON it has room in that, with all else of a note, whatever its characters are.
_REASON: Final = 100
# A lease is prolonged when a third of its time is over, by a drain that turns every 15 s at least.
_SILENT: Final = 0.8
# As long, in seconds, as a lease with the usual timeout may be silent. A drain asks every 15 s at
# least, and what it notes is a few seconds old.
_SILENT_FILE: Final = 28.0
# A note begins so, one that was wiped out, and a lock without any.
_BEGINS: Final = frozenset({b"{", b" ", b""})
# No machine runs for a thousand years; a note may say so.
_NEVER: Final = 3.2e10
_STANDS: Final = "it gives no sign of life; it is stopped (SIGSTOP), or hangs, or its disk does"


class Noted(NamedTuple):
    """What a daemon has noted beside its SQLite file, in seconds since the boot."""

    seen: float
    """When the database answered it last."""
    lost: float | None = None
    """Since when it doesn't; None while it does."""
    reason: str = ""


class Plight(NamedTuple):
    """For how many seconds a daemon hasn't been able to write, and why, as far as is known."""

    seconds: float
    reason: str

    @property
    def told(self) -> str:
        """Return what to say of the daemon, whose name comes before it."""
        return f"hasn't written to the outbox for {lasting(self.seconds)}: {self.reason}"


def note(database: Path, noted: Noted) -> None:
    """Note it beside an SQLite file: the daemon's alone, which has the lock.

    It is for whoever looks, and on no disk when this returns. It raises nothing.
    """
    told = noted._replace(reason=noted.reason[:_REASON])._asdict()
    with suppress(OSError), _opened(database, os.O_RDWR) as file:
        if os.pread(file, 1, 0) not in _BEGINS:
            return  # somebody has renamed another file to that; in the directory he may
        os.pwrite(file, orjson.dumps(told).ljust(NOTE_SIZE - 1) + b"\n", 0)


def noted(database: Path) -> Noted | None:
    """Return what is noted beside an SQLite file whose lock is held; None where that is nothing."""
    try:
        with _opened(database, os.O_RDONLY) as file:
            told = orjson.loads(os.pread(file, NOTE_SIZE, 0))
        lost = None if told["lost"] is None else _moment(told["lost"])
        reason = "".join(c for c in str(told["reason"]) if c.isprintable())
        return Noted(_moment(told["seen"]), lost, reason[:_REASON])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def silence(noted: Noted | None, now: float | None = None) -> float | None:
    """Return for how many seconds a daemon has given no sign of life; None where it never did.

    `now` is in seconds since the boot; just now, if left out.
    """
    now = SystemClock().monotonic() if now is None else now
    return None if noted is None else max(0.0, now - noted.seen)


def plight(engine: Engine, now: float | None = None) -> Plight | None:
    """Return what a daemon that holds the outbox suffers from; None where it can write.

    `now` is for an SQLite file; see `silence`.
    """
    if dialect_of(engine.dialect.name).name == "sqlite":
        file = followed(engine.get_execution_options()["file"])
        return _of_file(noted(file), now) if FileLock(file).is_held() else None
    with snapshot(engine) as tx:
        row = tx.execute(_SILENCE).one_or_none()
    owner = None if row is None else Owner.read(row.owner)
    if row is None or owner is None or owner.is_dead() or row.silence < _SILENT * row.ttl:
        return None
    reason = f"{owner} has not prolonged its lease; it can't reach the server, or hangs, or is dead"
    return Plight(row.silence, reason)


def _of_file(found: Noted | None, now: float | None) -> Plight | None:
    silent = silence(found, now)
    if found is None or silent is None:
        return None
    if found.lost is not None:  # what it said last is told, also of one that says nothing any more
        return Plight(max(0.0, silent + found.seen - found.lost), found.reason)
    return Plight(silent, _STANDS) if silent >= _SILENT_FILE else None


def _moment(told: object) -> float:
    """Return seconds since the boot; raises ValueError for what can't be that."""
    if isinstance(told, int | float) and abs(told) < _NEVER:
        return float(told)
    raise ValueError("not seconds since the boot")


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

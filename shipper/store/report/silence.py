"""Whether a daemon that runs is unable to write, for observers that only see that it runs.

For `status`, `doctor` and the alarms. On PostgreSQL the leases show it: a daemon that can't write
can't prolong its lease. While others can, they take over, so only if all of them are silent it is
told here. On SQLite the kernel keeps the lock, whether or not the daemon can write,
and also while it is stopped (SIGSTOP, Ctrl-Z) or hangs. So the daemon notes in the lock's file that
it lives, or since when it can't write. The room for the note is taken while all is well, so that a
full disk can't prevent the note.

Times are of the clock that counts from the machine's boot, which can't be set. A process that takes
the lock erases the note of the one before, so a note is always of this boot.

Every user that can write to the outbox can write a note. A note must never be followed to another
file, and never be trusted to be well-formed.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import orjson
from sqlalchemy import Engine

from shipper.clock import SystemClock
from shipper.store.db.dialect import dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.lease.file_lock import NOTE_SIZE, FileLock
from shipper.store.report.daemon_rows import JoinedDaemon, joined
from shipper.system.files import Directory, followed
from shipper.wording.quantities import lasting

# Whatever its characters are, in JSON it fits into a note with everything else.
_REASON: Final = 100
# In seconds: a healthy daemon with the usual timeout can be silent this long. The drain asks the
# database at least every 15 s, and its note can be a few seconds old.
_SILENT_FILE: Final = 28.0
# How a note begins, an erased note, and a lock's file without a note.
_BEGINS: Final = frozenset({b"{", b" ", b""})
# A note can contain any time; no machine runs for a thousand years.
_NEVER: Final = 3.2e10
_STOPPED: Final = "it gives no sign of life; it is stopped (SIGSTOP), or hangs, or its disk does"


class Noted(NamedTuple):
    """A daemon's note beside its SQLite file; times are in seconds since the boot."""

    seen: float
    """When the database last answered it."""
    lost: float | None = None
    """Since when the database doesn't answer; None while it does."""
    reason: str = ""


class Silence(NamedTuple):
    """For how many seconds a daemon hasn't been able to write, and why, as far as known."""

    seconds: float
    reason: str

    @property
    def predicate(self) -> str:
        """Return a sentence about the daemon without its subject, "the daemon"."""
        return f"hasn't written to the outbox for {lasting(self.seconds)}: {self.reason}"


def note(database: Path, noted: Noted) -> None:
    """Write a daemon's note beside its SQLite file; only the holder of the lock calls it.

    The note needn't survive a crash, so it isn't on the disk when this returns. Raises nothing.
    """
    fields = noted._replace(reason=noted.reason[:_REASON])._asdict()
    with suppress(OSError), _opened(database, os.O_RDWR) as file:
        if os.pread(file, 1, 0) not in _BEGINS:
            return  # a user of the directory has put another file there
        os.pwrite(file, orjson.dumps(fields).ljust(NOTE_SIZE - 1) + b"\n", 0)


def noted(database: Path) -> Noted | None:
    """Return the note beside an SQLite file whose lock is held; None if there is no valid one."""
    try:
        with _opened(database, os.O_RDONLY) as file:
            fields = orjson.loads(os.pread(file, NOTE_SIZE, 0))
        lost = None if fields["lost"] is None else _moment(fields["lost"])
        reason = "".join(c for c in str(fields["reason"]) if c.isprintable())
        return Noted(_moment(fields["seen"]), lost, reason[:_REASON])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def silent_seconds(noted: Noted | None, now: float | None = None) -> float | None:
    """Return for how many seconds a daemon has given no sign of life; None without a note.

    `now` is in seconds since the boot; if left out, it is this moment.
    """
    now = SystemClock().monotonic() if now is None else now
    return None if noted is None else max(0.0, now - noted.seen)


def find_silence(engine: Engine, now: float | None = None) -> Silence | None:
    """Return why the daemon that holds the outbox can't write; None if it can, or if none holds it.

    `now` is for an SQLite file; see `silent_seconds`.
    """
    dialect = dialect_of(engine)
    if dialect.is_file:
        file = followed(engine.get_execution_options()["file"])
        return _of_file(noted(file), now) if FileLock(file).is_held() else None
    with snapshot(engine) as tx:
        return silence_of(joined(tx))


def silence_of(daemons: Sequence[JoinedDaemon]) -> Silence | None:
    """Return why none of these daemons can write; None if one can, or if there is none."""
    if not daemons or not all(daemon.is_silent for daemon in daemons):
        return None
    last = min(daemons, key=lambda daemon: daemon.unseen)
    if len(daemons) == 1:
        reason = (
            f"{last} has not prolonged its lease; it can't reach the server, or hangs, or is dead"
        )
    else:
        reason = (
            f"none of {len(daemons)} daemons has prolonged its lease; they can't reach the server,"
            " or hang, or are dead"
        )
    return Silence(last.unseen, reason)


def _of_file(found: Noted | None, now: float | None) -> Silence | None:
    silent = silent_seconds(found, now)
    if found is None or silent is None:
        return None
    if found.lost is not None:  # a daemon that has gone silent still has its last reason
        return Silence(max(0.0, silent + found.seen - found.lost), found.reason)
    return Silence(silent, _STOPPED) if silent >= _SILENT_FILE else None


def _moment(value: object) -> float:
    """Return seconds since the boot; raises ValueError for a value that can't be that."""
    if isinstance(value, int | float) and abs(value) < _NEVER:
        return float(value)
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

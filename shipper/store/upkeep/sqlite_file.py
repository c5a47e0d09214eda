"""The room that an SQLite file takes, and how to give some of it back to the disk.

For the daemon and for reports. It decides how many free pages stay in the file: tomorrow's events
need room again, and on a full disk the daemon still needs some to record deliveries. Only a file
that was made for incremental vacuum can shrink: one that shipper created. Every step is short, and
no other reader or writer waits for it. PostgreSQL does all of this itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, text

from shipper.store.db.engine import open_engine
from shipper.store.db.failures import file_of
from shipper.store.db.sqlite.opening import quoted, sqlite_library
from shipper.store.db.transactions import glancing, interrupt, writing

# The free pages that stay in the file: a tenth of it, and at least a megabyte of 4 KiB pages.
_KEPT_SHARE, _KEPT_LEAST = 10, 256
# Pages that one step gives back, within a few ms.
STEP_PAGES = 200
# SQLite reuses a WAL from its beginning at a thousand pages. Only a reader that stays open, or one
# huge transaction, makes it larger than this.
WAL_BYTES = 8 << 20
# The last part, at most two megabytes of 4 KiB pages, is written while other writers wait.
FRAMES_AT_ONCE = 512
_PASSES = 5

_INCREMENTAL = 2
FILE = text("SELECT file FROM pragma_database_list WHERE name = 'main'")
"""Reads the path of the file that a connection has open."""


@dataclass(frozen=True, slots=True)
class Space:
    """The room that an SQLite outbox takes, in bytes; `free` is unused room inside the file."""

    file: int
    free: int
    wal: int
    shrinks: bool
    """Whether the file can give its free pages back."""


def measure(engine: Engine) -> Space:
    """Return the room that an SQLite file takes; raises StoreUnavailable and AccessDenied."""
    with glancing(engine) as tx:
        page = _pragma(tx, "page_size")
        path = Path(tx.execute(FILE).scalar_one())
        return Space(
            file=page * _pragma(tx, "page_count"),
            free=page * _pragma(tx, "freelist_count"),
            wal=wal_bytes(path),
            shrinks=_pragma(tx, "auto_vacuum") == _INCREMENTAL,
        )


def wal_bytes(path: Path) -> int:
    """Return the size of the WAL beside a file; 0 if there is none."""
    # The WAL isn't opened here: closing it would drop this process's own locks.
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0


def give_back(engine: Engine) -> Iterator[int]:
    """Shrink a file that shipper created, in steps; yield how many pages each step gave back."""
    while True:
        with glancing(engine) as tx:
            pages = min(_surplus(tx), STEP_PAGES)
        if pages <= 0:
            return
        with writing(engine) as tx:
            # Asked for more than one page it returns rows without columns; no driver fetches those.
            for _ in range(pages):
                tx.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        yield pages


def checkpoint(engine: Engine, *, beside_writers: bool | None = None) -> bool:
    """Write the WAL into an SQLite file and cut it; return False if another process prevented it.

    With `beside_writers`, which depends on the library if left out, most of the WAL is written
    while other writers go on, and only the last part makes them wait. SQLite before 3.51.3 can
    damage the file if a writer commits during a checkpoint; so there they wait for all of it.
    """
    if beside_writers is None:
        beside_writers = sqlite_library().wal_reset_safe
    with glancing(engine) as tx:
        patience = _pragma(tx, "busy_timeout")
        tx.exec_driver_sql("PRAGMA busy_timeout = 0")
        try:
            if beside_writers and not _copied(tx):
                return False
            busy: int = tx.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        finally:
            tx.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")
    return not busy


class Checkpoint:
    """A checkpoint on its own connection, which another thread can break off."""

    def __init__(self, engine: Engine) -> None:
        path = quoted(str(file_of(engine)))
        self._engine = open_engine(f"sqlite:///{path}")
        self._is_over = False

    def run(self) -> bool:
        """Do what `checkpoint` does, once; raises what it raises."""
        try:
            return not self._is_over and checkpoint(self._engine)
        finally:
            self._engine.dispose()

    def break_off(self) -> None:
        """End the checkpoint at once; called from another thread."""
        self._is_over = True
        interrupt(self._engine)


def _copied(tx: Connection) -> bool:
    """Write the WAL into the file while writers go on; return whether only little of it is left."""
    for _ in range(_PASSES):
        _, frames, done = tx.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
        if frames - done <= FRAMES_AT_ONCE:
            return True
    return False


def _surplus(tx: Connection) -> int:
    if _pragma(tx, "auto_vacuum") != _INCREMENTAL:
        return 0
    kept = max(_KEPT_LEAST, _pragma(tx, "page_count") // _KEPT_SHARE)
    return _pragma(tx, "freelist_count") - kept


def _pragma(tx: Connection, name: str) -> int:
    found: Any = tx.exec_driver_sql(f"PRAGMA {name}").scalar_one()
    return int(found)

"""The room that an SQLite file takes: how much, and giving some of it back.

It decides how much of a file's free pages stay in it: what is written tomorrow needs room again,
and on a full disk the marks of what was delivered still find some. Only a file that was made for
incremental vacuum shrinks, which is one that shipper has created. Every step is short, and none
waits for anybody: whoever reads or writes goes first. PostgreSQL sees to all of this itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from shipper.store.db.engine import open_engine
from shipper.store.db.failures import file_of
from shipper.store.db.sqlite.opening import quoted, sqlite_library
from shipper.store.db.transactions import glancing, interrupt, writing

# Free pages that stay in the file: a tenth of it, and with 4 KiB pages at least a megabyte.
_KEPT_SHARE, _KEPT_LEAST = 10, 256
# Pages that one step gives back: a few ms.
STEP_PAGES = 200
# A WAL is used again from its beginning once it has a thousand pages; only a reader that stays too
# long, or one huge transaction, makes it larger than this many bytes.
WAL_BYTES = 8 << 20
# What may be left of it for the moment that keeps writers away: with 4 KiB pages two megabytes.
FRAMES_AT_ONCE = 512
_PASSES = 5

_INCREMENTAL = 2
_FILE = "SELECT file FROM pragma_database_list WHERE name = 'main'"


@dataclass(frozen=True, slots=True)
class Space:
    """What an SQLite outbox takes, in bytes; `free` is room inside of the file."""

    file: int
    free: int
    wal: int
    shrinks: bool
    """Whether the file can give its free pages back."""


def measure(engine: Engine) -> Space:
    """Return what an SQLite file takes; raises StoreUnavailable and AccessDenied."""
    with glancing(engine) as tx:
        page = _pragma(tx, "page_size")
        path = Path(tx.exec_driver_sql(_FILE).scalar_one())
        return Space(
            file=page * _pragma(tx, "page_count"),
            free=page * _pragma(tx, "freelist_count"),
            wal=wal_bytes(path),
            shrinks=_pragma(tx, "auto_vacuum") == _INCREMENTAL,
        )


def wal_bytes(path: Path) -> int:
    """Return the size of the WAL beside a file; 0 where there is none."""
    # Never opened here: to close it again would drop the locks of this very process.
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0


def give_back(engine: Engine) -> Iterator[int]:
    """Shrink an SQLite file of ours, a step at a time; yield how many pages each step gave back."""
    while True:
        with glancing(engine) as tx:
            pages = min(_surplus(tx), STEP_PAGES)
        if pages <= 0:
            return
        with writing(engine) as tx:
            # For more than one it yields rows without columns, which no driver fetches.
            for _ in range(pages):
                tx.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        yield pages


def checkpoint(engine: Engine, *, beside_writers: bool | None = None) -> bool:
    """Write the WAL into an SQLite file and cut it; False where somebody was in the way.

    First `beside_writers`, who go on meanwhile, where the library is fit for it; so there is only
    little left for the end, which keeps them away. SQLite before 3.51.3 can damage the file when
    one commits beside a checkpoint: there all of it keeps them away, so it comes sooner.
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
    """A checkpoint on a connection of its own, which somebody else can break off."""

    def __init__(self, engine: Engine) -> None:
        path = quoted(str(file_of(engine)))
        self._engine = open_engine(f"sqlite:///{path}")
        self._is_over = False

    def run(self) -> bool:
        """Do what `checkpoint` does, once; raises the same."""
        try:
            return not self._is_over and checkpoint(self._engine)
        finally:
            self._engine.dispose()

    def break_off(self) -> None:
        """Have it end at once; called from another thread."""
        self._is_over = True
        interrupt(self._engine)


def _copied(tx: Connection) -> bool:
    """Write the WAL into the file beside those who write; return whether only little is left."""
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

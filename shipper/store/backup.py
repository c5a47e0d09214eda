"""A copy of an SQLite outbox, made while everybody goes on working with it.

It decides what the copy is: the whole file, the application's tables among them, as it was at one
moment. It must never overwrite anything, never leave a half of a copy under the name that was
asked for, and never let more people read the copy than could read the file.

The copy belongs to nobody: the lease in it is free, and what was claimed at that moment is marked
as maybe received, so that a daemon on the restored copy repeats just that before anything else.
Meanwhile one view of the file is kept open, so its WAL can't be cut before the copy is made.
"""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from shipper.errors import AccessDenied, SchemaError, ShipperError, UsageError
from shipper.store import revisions
from shipper.store.dialect import SQLITE
from shipper.store.engine import connect_sqlite, open_engine
from shipper.store.failures import translating_sqlite
from shipper.store.lease import Owner
from shipper.store.queue import Queue
from shipper.store.snapshot import shown, snapshot, written
from shipper.store.transactions import glancing

_TABLES = text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
# Pages of one step, between which an interruption is noticed.
_STEP = 2048
_PRIVATE = 0o600
_SHARED = 0o660


@dataclass(frozen=True, slots=True)
class Copy:
    """What was copied: the size in bytes, and by destination what would ship from it."""

    size: int
    pending: dict[str, int]
    maybe_received: int
    """How many of the pending ones a daemon may have sent at that moment."""
    unchecked: dict[str, str] = field(default_factory=dict)
    """The application's tables whose copy only the application can check, and why."""


def back_up(
    source: Path, target: Path, told: Callable[[int, int], None] = lambda _done, _all: None
) -> Copy:
    """Copy the whole file `source` to `target`, which must not be there; `told` is of pages.

    Raises UsageError where `target` can't be, StoreUnavailable for a disk that is full, and
    SchemaError where there is no outbox in the file.
    """
    _refuse(source, target)
    with file_beside(target) as partial:
        _copy(source, partial, told)
        copy = _disown(partial)
        _lend(source, partial)
        publish(partial, target)
    return copy


def pg_dump(url: str, target: Path) -> str:
    """Return the command that makes the same of a PostgreSQL database; it holds no password."""
    given = make_url(url)
    query = {name: value for name, value in given.query.items() if "password" not in name}
    plain = URL.create(
        "postgresql", given.username, None, given.host, given.port, given.database, query
    ).render_as_string()
    return shlex.join(["pg_dump", "--format=custom", f"--file={target}", plain])


def _refuse(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already; nothing was copied", "name another file")
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {target.parent}")
    with suppress(OSError):  # what is wrong with the source is told when it is opened
        needed = source.stat().st_size
        free = shutil.disk_usage(target.parent).free
        if needed > free:
            raise ShipperError(
                f"no room for a copy in {target.parent}: it takes {needed} bytes, {free} are free"
            )


@contextmanager
def file_beside(target: Path) -> Iterator[Path]:
    """Give an empty file beside the target that only we can read; nothing of it stays there."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        os.close(os.open(partial, flags, _PRIVATE))
    except OSError as error:
        raise AccessDenied(f"{target.parent}: can't write there: {error.strerror}") from None
    try:
        yield partial
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def _copy(source: Path, partial: Path, told: Callable[[int, int], None]) -> None:
    with translating_sqlite(source):
        reader = connect_sqlite(source, busy_timeout=5.0)
        writer = connect_sqlite(partial, busy_timeout=5.0)
        try:
            # Without one view for all steps, each commit of somebody's would start the copy anew.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            reader.backup(
                writer, pages=_STEP, progress=lambda _, left, pages: told(pages - left, pages)
            )
        finally:
            writer.close()
            reader.close()


def _disown(partial: Path) -> Copy:
    """Free the lease in the copy, check every page of it, and say what is in it."""
    # Only these two mean something in the path of a URL.
    path = str(partial.absolute()).replace("%", "%25").replace("?", "%3F")
    engine = open_engine(f"sqlite:///{path}")
    try:
        if revisions.current(engine) is None:
            raise SchemaError("there is no outbox in this database")
        queue = Queue(engine, lease_ttl=0.0)
        maybe_received = queue.acquire(Owner.here())
        queue.release()
        unchecked = _check(engine)
        return Copy(partial.stat().st_size, _pending(engine), maybe_received, unchecked)
    finally:
        engine.dispose()


def _check(engine: Engine) -> dict[str, str]:
    """Check every page; return which tables only the application can check, and why.

    An index may be sorted by a collation of the application's, a CHECK may call its function, and a
    virtual table needs its module: without them SQLite checks nothing at all of the file at once.
    """
    with glancing(engine) as tx:
        tx.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
        try:
            _refuse_damage(tx, None)
        except DBAPIError:
            tables = tx.execute(_TABLES).scalars().all()
        else:
            return {}
        return {table: why for table in tables if (why := _unchecked(tx, table))}


def _unchecked(tx: Connection, table: str) -> str | None:
    try:
        _refuse_damage(tx, table)
    except DBAPIError as error:
        if table.startswith("shipper_"):
            raise
        return str(error.orig)
    return None


def _refuse_damage(tx: Connection, table: str | None) -> None:
    quoted = "" if table is None else '"' + table.replace('"', '""') + '"'
    found = tx.exec_driver_sql(f"PRAGMA quick_check({quoted or 1})").scalar()
    if found != "ok":
        raise ShipperError(
            "the database file is damaged, and so was its copy; nothing was kept",
            "look at: PRAGMA integrity_check",
        )


def _pending(engine: Engine) -> dict[str, int]:
    name = written(SQLITE, "destination")
    statement = text(
        f"SELECT {name}, count(*) FROM shipper_outbox{SQLITE.along.format('pending')}"
        " WHERE status = 'pending' GROUP BY destination ORDER BY destination"
    )
    with snapshot(engine) as tx:
        return {shown(destination): count for destination, count in tx.execute(statement)}


def _lend(source: Path, partial: Path) -> None:
    """Give the copy to the group that has the source, if we can; else it is ours alone."""
    status = source.stat()
    mode = status.st_mode & _SHARED
    try:
        if partial.stat().st_gid != status.st_gid:
            os.chown(partial, -1, status.st_gid)
    except PermissionError:
        mode &= _PRIVATE
    partial.chmod(mode | _PRIVATE)


def publish(partial: Path, target: Path) -> None:
    """Give the copy its name, once all of it is on disk; raises UsageError if the name is taken."""
    _sync(partial)
    try:
        os.link(partial, target)
    except FileExistsError:
        raise UsageError(f"{target} is there by now; nothing was kept") from None
    except OSError:  # a file system without links, as sticks have
        if os.path.lexists(target):
            raise UsageError(f"{target} is there by now; nothing was kept") from None
        partial.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

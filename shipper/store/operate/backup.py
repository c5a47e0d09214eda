"""A copy of an SQLite outbox, made while everybody goes on working with it.

It decides what the copy is: the whole file, the application's tables among them, as it was at one
moment. It must never overwrite anything, never leave a half of a copy under the name that was
asked for, and never let more people read the copy than could read the file.

The copy belongs to nobody: the lease in it is free, and what was claimed at that moment is marked
as maybe received, so that a daemon on the restored copy repeats just that before anything else.
Meanwhile one view of the file is kept open, so its WAL can't be cut before the copy is made.

Others may write where the copy goes. So it is made in a directory of its own (see `drafts`),
and SQLite, which takes no descriptor, opens nothing there but that one file: it is looked at
whether it is the one, and for as long as it is a draft it has neither a WAL nor a journal.
"""

import os
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from shipper.errors import AccessDenied, SchemaError, ShipperError, UsageError
from shipper.store.db.dialect import SQLITE
from shipper.store.db.engine import open_draft
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.db.sqlite.failures import translating_sqlite
from shipper.store.db.sqlite.opening import connect_draft, connect_sqlite
from shipper.store.db.transactions import glancing
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.schema import revisions
from shipper.system.drafts import Draft
from shipper.system.files import PRIVATE, Untrusted

_TABLES = text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
# Pages of one step, between which an interruption is noticed.
_STEP = 2048
_SHARED = 0o660
# Where the header says that a file has a WAL, and how (sqlite.org/fileformat2.html, 1.3.3).
_VERSIONS_AT, _WITHOUT_WAL = 18, b"\x01\x01"


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
    with file_beside(target) as draft:
        _copy(source, draft, told)
        with _without_wal(draft.file):
            copy = _disown(draft)
        _lend(source, draft.file)
        publish(draft)
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
def file_beside(target: Path) -> Iterator[Draft]:
    """Give an empty file beside the target that only we can read; nothing of it stays there."""
    with ExitStack() as stack:
        try:
            draft = stack.enter_context(Draft(target))
        except OSError as error:
            raise AccessDenied(f"{target.parent}: can't write there: {error.strerror}") from None
        try:
            yield draft
        except Untrusted as error:
            raise AccessDenied(
                f"{target.parent / str(error.filename)} {error.strerror}; nothing was kept",
                "name a FILE in a directory where nobody else may write",
            ) from error


def _copy(source: Path, draft: Draft, told: Callable[[int, int], None]) -> None:
    with translating_sqlite(source):
        reader = connect_sqlite(source, busy_timeout=5.0)
        writer = connect_draft(draft.path, draft.refuse_another)
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


@contextmanager
def _without_wal(file: int) -> Iterator[None]:
    """Let a copy have no WAL for a while: the header says so, as it was copied."""
    versions = os.pread(file, len(_WITHOUT_WAL), _VERSIONS_AT)
    if versions:
        os.pwrite(file, _WITHOUT_WAL, _VERSIONS_AT)
    yield
    os.pwrite(file, versions, _VERSIONS_AT)


def _disown(draft: Draft) -> Copy:
    """Free the lease in the copy, check every page of it, and say what is in it."""
    engine = open_draft(draft.path, draft.refuse_another)
    try:
        if revisions.current(engine) is None:
            raise SchemaError("there is no outbox in this database")
        queue = Queue(engine, lease_ttl=0.0)
        maybe_received = queue.acquire(Owner.here())
        queue.release()
        unchecked = _check(engine)
        return Copy(os.fstat(draft.file).st_size, _pending(engine), maybe_received, unchecked)
    finally:
        engine.dispose()


def _check(engine: Engine) -> dict[str, str]:
    """Check every page; return which tables only the application can check, and why.

    An index may be sorted by a collation of the application's, a CHECK may call its function, and a
    virtual table needs its module: without them SQLite checks nothing at all of the file at once.
    """
    with glancing(engine) as tx:
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


def _lend(source: Path, file: int) -> None:
    """Give the copy to the group that has the source, if we can; else it is ours alone."""
    status = source.lstat()
    mode = status.st_mode & _SHARED if stat.S_ISREG(status.st_mode) else PRIVATE
    try:
        if os.fstat(file).st_gid != status.st_gid:
            os.fchown(file, -1, status.st_gid)
    except PermissionError:
        mode &= PRIVATE
    os.fchmod(file, mode | PRIVATE)


def publish(draft: Draft) -> None:
    """Give the copy its name, once all of it is on disk; raises UsageError if the name is taken."""
    try:
        draft.publish()
    except FileExistsError:
        raise UsageError(f"{draft.target} is there by now; nothing was kept") from None

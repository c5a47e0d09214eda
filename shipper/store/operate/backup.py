"""A copy of an SQLite outbox, made while the daemon and the application go on working with it.

For `shipper backup`. It decides what the copy is: the whole file with the application's tables, as
it was at one moment. It must never overwrite a file, never leave part of a copy under the name that
the operator gave, and never let more users read the copy than could read the file.

In the copy the lease is free. What was claimed at that moment is marked as maybe received, so that
a daemon on the restored copy repeats those events before any others. During the copy one read
transaction on the file stays open, so that a checkpoint can't cut the WAL.

Other users can have the right to write to the directory of the copy. So the copy is made in a
private directory (see `drafts`). SQLite takes a name and no descriptor. So it opens only that one
file, shipper checks that it is the right one, and until the copy is published the file has neither
WAL nor journal.
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
# Pages per step; an interruption is noticed between two steps.
_STEP = 2048
_SHARED = 0o660
# Where a file's header says that it has a WAL (sqlite.org/fileformat2.html, 1.3.3).
_VERSIONS_AT, _WITHOUT_WAL = 18, b"\x01\x01"


@dataclass(frozen=True, slots=True)
class Copy:
    """What was copied: the size in bytes, and the number of pending events by destination."""

    size: int
    pending: dict[str, int]
    maybe_received: int
    """How many of the pending events a daemon may have sent by that moment."""
    unchecked: dict[str, str] = field(default_factory=dict)
    """The application's tables that shipper can't check, and why."""


def back_up(
    source: Path, target: Path, on_step: Callable[[int, int], None] = lambda _done, _all: None
) -> Copy:
    """Copy the whole file `source` to the new file `target`; `on_step` gets pages done and in all.

    Raises UsageError if `target` exists or can't be made, StoreUnavailable if the disk is full, and
    SchemaError if there is no outbox in the file.
    """
    _refuse(source, target)
    with file_beside(target) as draft:
        _copy(source, draft, on_step)
        with _without_wal(draft.file):
            copy = _free_and_check(draft)
        _share_with_group(source, draft.file)
        publish(draft)
    return copy


def pg_dump(url: str, target: Path) -> str:
    """Return the command that copies a PostgreSQL database; it contains no password."""
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
    with suppress(OSError):  # opening the source reports what is wrong with it
        needed = source.stat().st_size
        free = shutil.disk_usage(target.parent).free
        if needed > free:
            raise ShipperError(
                f"no room for a copy in {target.parent}: it takes {needed} bytes, {free} are free"
            )


@contextmanager
def file_beside(target: Path) -> Iterator[Draft]:
    """Make an empty file beside the target that only this user can read; remove it at the end."""
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
                "name a FILE in a directory where no other user can write",
            ) from error


def _copy(source: Path, draft: Draft, on_step: Callable[[int, int], None]) -> None:
    with translating_sqlite(source):
        reader = connect_sqlite(source, busy_timeout=5.0)
        writer = connect_draft(draft.path, draft.refuse_another)
        try:
            # Without one view for all steps, each commit of another process would restart the copy.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            reader.backup(
                writer, pages=_STEP, progress=lambda _, left, pages: on_step(pages - left, pages)
            )
        finally:
            writer.close()
            reader.close()


@contextmanager
def _without_wal(file: int) -> Iterator[None]:
    """Switch a copy's WAL off for a while, by the header that was copied with the file."""
    versions = os.pread(file, len(_WITHOUT_WAL), _VERSIONS_AT)
    if versions:
        os.pwrite(file, _WITHOUT_WAL, _VERSIONS_AT)
    yield
    os.pwrite(file, versions, _VERSIONS_AT)


def _free_and_check(draft: Draft) -> Copy:
    """Free the lease in the copy, check every page of it, and return what it contains."""
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
    """Check every page; return the tables that only the application can check, and why.

    An index can need a collation of the application, a CHECK its function, a virtual table its
    module. Without them SQLite can't check the whole file, so each table is checked alone.
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
            "the database file is damaged, and so was its copy; the copy was deleted",
            "to see the damage, run in SQLite: PRAGMA integrity_check",
        )


def _pending(engine: Engine) -> dict[str, int]:
    name = written(SQLITE, "destination")
    statement = text(
        f"SELECT {name}, count(*) FROM shipper_outbox{SQLITE.along.format('pending')}"
        " WHERE status = 'pending' GROUP BY destination ORDER BY destination"
    )
    with snapshot(engine) as tx:
        return {shown(destination): count for destination, count in tx.execute(statement)}


def _share_with_group(source: Path, file: int) -> None:
    """Give the copy the source's group, if this user can; else only this user can read it."""
    status = source.lstat()
    mode = status.st_mode & _SHARED if stat.S_ISREG(status.st_mode) else PRIVATE
    try:
        if os.fstat(file).st_gid != status.st_gid:
            os.fchown(file, -1, status.st_gid)
    except PermissionError:
        mode &= PRIVATE
    os.fchmod(file, mode | PRIVATE)


def publish(draft: Draft) -> None:
    """Give the copy its name, after all of it is on disk; raises UsageError if the name exists."""
    try:
        draft.publish()
    except FileExistsError:
        raise UsageError(f"{draft.target} exists by now; the new file was deleted") from None

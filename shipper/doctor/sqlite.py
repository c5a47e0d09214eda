"""More checks of an SQLite outbox: damage by other tools, and clients that block its writers.

Each check yields a result only if something is wrong; `database` has the lines for a good outbox.
A check must never write.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from shipper.doctor.result import CheckResult, fault
from shipper.errors import AccessDenied
from shipper.store.db.opening import Database
from shipper.store.db.sqlite import holders
from shipper.store.db.transactions import glancing
from shipper.store.schema import sqlite_objects
from shipper.store.upgrade import sqlite_sequence
from shipper.system.files import followed


def check_tables(database: Database) -> Iterator[CheckResult]:
    """Check that all tables, indexes and triggers are there, and that the id counter is right."""
    gone = sqlite_objects.missing(database)
    if gone:
        text = f"missing or changed: {', '.join(gone)}"
        yield fault("tables", text, "shipper db upgrade restores them")
    for text in sqlite_sequence.look(database):
        yield fault("ids", text, "stop shipper, then: shipper db upgrade")


def check_lock(database: Database) -> Iterator[CheckResult]:
    """Raise StoreUnavailable if the write lock can't be had in time; write nothing."""
    # Other checks report missing rights, and for the right user. This transaction doesn't begin
    # like a writer's, which would switch the file back to WAL: a check must not change the file.
    with suppress(AccessDenied), glancing(database) as tx:
        tx.exec_driver_sql("BEGIN IMMEDIATE")
        tx.exec_driver_sql("ROLLBACK")
    yield from ()


def check_removed(path: Path) -> Iterator[CheckResult]:
    """Name the processes that still use a removed -wal or -shm: other processes see no commit."""
    real = followed(path)
    found = holders.openers(f"{real}{suffix} (deleted)" for suffix in ("-wal", "-shm"))
    if found:
        yield fault(
            "WAL files",
            f"removed while {holders.listed(found)} used them: the commits in them will be lost",
            "keep shipper running, which saves what it can, and restart the other processes; then"
            " make sure that no tool (rsync --delete, git clean) removes files beside the database",
        )

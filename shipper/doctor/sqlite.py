"""An SQLite outbox beyond its rights: what tools did to it, and who keeps its writers waiting.

Each says something only where something is wrong: the outbox's own lines are in `database`.
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
    """See whether all tables, indexes and triggers are there, and the count of ids is right."""
    gone = sqlite_objects.missing(database)
    if gone:
        told = f"missing or changed: {', '.join(gone)}"
        yield fault("tables", told, "shipper db upgrade makes them again")
    for told in sqlite_sequence.look(database):
        yield fault("ids", told, "stop shipper, then: shipper db upgrade")


def check_lock(database: Database) -> Iterator[CheckResult]:
    """Raise StoreUnavailable where the write lock can't be had in time; nothing is written."""
    # The rights are told elsewhere, and as whom they count. It doesn't begin as a writer does: that
    # would give a file its WAL back, and a doctor only looks.
    with suppress(AccessDenied), glancing(database) as tx:
        tx.exec_driver_sql("BEGIN IMMEDIATE")
        tx.exec_driver_sql("ROLLBACK")
    yield from ()


def check_removed(path: Path) -> Iterator[CheckResult]:
    """Name who has a -wal or -shm open that was removed: nobody else finds what it commits."""
    real = followed(path)
    who = holders.openers(f"{real}{suffix} (deleted)" for suffix in ("-wal", "-shm"))
    if who:
        yield fault(
            "WAL files",
            f"removed from under {holders.listed(who)}: what it commits is lost with it",
            "keep shipper running, which saves what it can, and restart the others; then see to it"
            " that nothing (rsync --delete, git clean) removes files beside the database",
        )

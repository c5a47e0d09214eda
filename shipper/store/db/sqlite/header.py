"""Before the first write to an SQLite file: it must be in WAL mode, and its texts UTF-8.

Both settings are in the file's header. A file that was loaded from a dump or restored by a tool can
have lost them (NetworkOptimizer 659). This module decides once for each connection: a file with an
outbox gets its WAL mode back. A notice informs the operator, because the change affects every
application. It must never change the mode of a file without an outbox.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shipper.errors import SchemaError, StoreUnavailable
from shipper.store.db.sqlite.failures import translating_sqlite

Notify = Callable[[str], None]

_BUSY = frozenset({5, 6})  # BUSY, LOCKED
_OUTBOX = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'shipper_outbox')"


def make_ready(driver: Any, file: Path, notify: Notify) -> bool:
    """Switch a file with an outbox to WAL; return whether it has an outbox and is ready.

    Raises SchemaError for a file that can't have a WAL or isn't UTF-8, StoreUnavailable while
    another process prevents the change, and the errors of `result_codes`.
    """
    with translating_sqlite(file):
        if not driver.execute(_OUTBOX).fetchone()[0]:
            return False
        refuse_encoding(driver.execute("PRAGMA encoding").fetchone()[0])
        mode = driver.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        into_wal(driver, file, mode)
        notify(
            f"{file.name}: the journal mode was {mode}, as after a restore from a dump; it is WAL"
            " again, for every application"
        )
    return True


def into_wal(driver: Any, file: Path, mode: str) -> None:
    """Switch a file from another mode to WAL; raises as `make_ready` does."""
    try:
        became = driver.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    except Exception as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
            raise StoreUnavailable(
                f"{file.name}: the journal mode is {mode} and not WAL, and can't be changed while"
                " another process uses the file",
                "let that process end its transaction, or stop it; shipper tries again",
            ) from error
        with translating_sqlite(file):
            raise
    if became != "wal":
        raise SchemaError(
            f"{file.name}: the journal mode is {became} and can't be made WAL",
            "is it on a disk of this machine, and are file and directory writable?"
            " See: shipper doctor",
        )


def refuse_encoding(encoding: str) -> None:
    """Raise SchemaError unless texts are UTF-8; otherwise SQLite would change their bytes."""
    if encoding not in {"UTF-8", "UTF8"}:
        raise SchemaError(
            f"the database is encoded in {encoding}; an outbox needs UTF-8",
            "make a new file: PRAGMA encoding = 'UTF-8', then load the dump into it",
        )

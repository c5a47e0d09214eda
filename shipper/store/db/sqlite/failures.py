"""What a failure of SQLite's driver means to an operator who can act on it.

`result_codes` says what each result code means. This module also looks at the disk, the rights and
the locks, because SQLite gives the same code for several problems with them. No message must ever
show a statement's parameters, which can be payloads.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shipper.errors import AccessDenied, ShipperError
from shipper.store.db.sqlite import holders, result_codes

_CONSTRAINT = 19
_COUNTERS = frozenset({"delivered >= 0", "dead >= 0", "discarded >= 0", "purged >= 0"})
# The codes of a right that is missing, and of a file that can't be opened.
_OPENING = frozenset({3, 8, 14})  # PERM, READONLY, CANTOPEN
# The codes of a file, the -shm above all, that can't grow.
_GROWING = frozenset({10, 14})  # IOERR, CANTOPEN
_BUSY, _FULL = 5, 13
# The -shm grows by half of this.
_NO_ROOM = 64 << 10


@contextmanager
def translating_sqlite(file: Path | None = None) -> Iterator[None]:
    """Turn errors of SQLite's driver into a ShipperError, for code that uses it directly."""
    try:
        yield
    except Exception as error:
        translated = translate(error, file) if is_failure(error) else None
        if translated is None:
            raise
        raise translated from error


def is_failure(error: object) -> bool:
    """Return whether an error is of SQLite's driver."""
    return hasattr(error, "sqlite_errorcode")


def is_counter(error: Any) -> bool:
    """Return whether the failure is a counter of `shipper_destination` below 0."""
    return _primary(error) == _CONSTRAINT and str(error).rpartition("failed: ")[2] in _COUNTERS


def named(error: Any) -> str:
    """Return the name of a failure's code, '' if it has none; no values of a row."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return result_codes.named(code) if code else ""


def translate(error: object, file: Path | None) -> ShipperError | None:
    """Return what a failure of SQLite's driver means; `file` is the database, if it is known.

    None means that only a change of shipper's code helps: see `result_codes.meaning`.
    """
    code: int = getattr(error, "sqlite_errorcode", 0)
    found = result_codes.meaning(code, str(error))
    if found is None:
        return None
    found = _looked_into(found, code & 0xFF, file)
    name = "the database file" if file is None else file.name
    message = found.message.format(file=name)
    hint = found.hint
    if code & 0xFF == _BUSY and file is not None and (who := holders.writers(file)):
        message += f": {holders.listed(who)}"
        hint = "if it doesn't let go soon: end its transaction, or that process"
    return found.kind(f"{message} ({result_codes.named(code)})", hint)


def _primary(error: Any) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _looked_into(
    found: result_codes.Meaning, primary: int, file: Path | None
) -> result_codes.Meaning:
    """Return what a code means after a look at the disk and the rights: SQLite mixes them up."""
    if file is None:
        return found
    if primary in _GROWING and _is_full(file):
        return result_codes.FULL
    if primary in _OPENING and found.kind is AccessDenied and _may_write(file):
        return result_codes.NO_OPENING
    if primary == _FULL and not _is_full(file):
        return result_codes.NO_GROWTH
    return found


def _may_write(file: Path) -> bool:
    """Return whether the system lets us write a database, and its -wal and -shm."""
    beside = (file.with_name(file.name + suffix) for suffix in ("-wal", "-shm"))
    files = [file, *(path for path in beside if path.exists())]
    return os.access(file.parent, os.W_OK | os.X_OK, effective_ids=True) and all(
        os.access(path, os.R_OK | os.W_OK, effective_ids=True) for path in files
    )


def _is_full(file: Path) -> bool:
    try:
        return shutil.disk_usage(file.parent).free < _NO_ROOM
    except OSError:
        return False

"""What a database's failure means for somebody who can act on it.

It is judged by the driver's code and never by a server's text, which changes with versions and
languages: only the name of a function is taken from where a server says that it was. What SQLite's
codes mean is in `sqlite_codes`. It must never show a statement's parameters: they may be payloads.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shipper.errors import AccessDenied, ForeignTrigger, SchemaError, ShipperError, StoreUnavailable
from shipper.store.db.sqlite import holders, result_codes

_UPGRADE = "run: shipper db upgrade"
_LOCKED = "55P03"
_ALL = "endures"
_RIGHTS = (
    "shipper's own role owns its tables, and needs CREATE on their schema to make them; where a"
    " policy hides rows from it: ALTER TABLE … NO FORCE ROW LEVEL SECURITY; `shipper db grants`"
    " prints what an application's role needs"
)


def endure(engine: Engine) -> None:
    """Have whatever the database answers to this engine be a ShipperError from now on.

    It is for the drain: a process that ends over what it can't record is started anew, sends the
    same events again, and can't record that either. What Python itself raises ends it all the same.
    """
    engine.update_execution_options(**{_ALL: True})


@contextmanager
def translating(engine: Engine | None = None) -> Iterator[None]:
    """Turn what a database raises within into a ShipperError, where somebody can act on it."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        translated = translate(error, None if engine is None else file_of(engine))
        if translated is None and engine is not None and engine.get_execution_options().get(_ALL):
            translated = _unknown(error)
        if translated is None:
            raise
        cause = error.orig if isinstance(error, DBAPIError) else None
        if engine is not None and getattr(cause, "sqlstate", None) == _LOCKED:
            translated = _with_lockers(engine, translated)
        raise translated from error


def _with_lockers(engine: Engine, error: ShipperError) -> ShipperError:
    """Return it with who has locked our tables, as far as that can be seen."""
    from shipper.store.db.commits import lockers  # noqa: PLC0415 - it asks by what is defined here

    with suppress(ShipperError):
        if who := lockers(engine):
            hint = "if that doesn't end soon: SELECT pg_terminate_backend(its number)"
            return type(error)(f"{error.message}: {', '.join(who)}", hint)
    return error


@contextmanager
def translating_sqlite(file: Path | None = None) -> Iterator[None]:
    """Do the same where SQLite's own driver is used directly."""
    try:
        yield
    except Exception as error:
        known = hasattr(error, "sqlite_errorcode")
        translated = _translate_sqlite(error, file) if known else None
        if translated is None:
            raise
        raise translated from error


def file_of(engine: Engine) -> Path | None:
    """Return the file of an SQLite engine of ours, None for any other."""
    file: Path | None = engine.get_execution_options().get("file")
    return file


def translate(error: Exception, file: Path | None = None) -> ShipperError | None:
    """Return what a database's failure means, judged by its code and never by its message.

    `file` is SQLite's, where it is known. None means that it is nobody's to mend but ours: a
    violated constraint or a wrong statement.
    """
    if isinstance(error, PoolTimeout):
        return StoreUnavailable("the only connection to the database is in use")
    if not isinstance(error, DBAPIError):
        return None
    if _is_counter(error.orig):
        return SchemaError("a counter in shipper_destination is wrong: it would be less than 0",
                           "rows were changed by hand (SQL): shipper verify --recount")  # fmt: skip
    if hasattr(error.orig, "sqlite_errorcode"):
        return _translate_sqlite(error.orig, file)
    if hasattr(error.orig, "sqlstate"):
        return _translate_postgres(error)
    return None


def _unknown(error: Exception) -> StoreUnavailable | None:
    """Return what an answer comes to that is in no table of ours; None where there was no answer.

    It tells no word of the server's: they may quote a row.
    """
    cause: Any = error.orig if isinstance(error, DBAPIError) else None
    if code := getattr(cause, "sqlite_errorcode", 0):
        told = result_codes.named(code)
    elif state := getattr(cause, "sqlstate", None):
        where = (("constraint", cause.diag.constraint_name), ("table", cause.diag.table_name))
        names = [f"{what} {_shown(name)}" for what, name in where if name]
        told = ", ".join([f"{state} {type(cause).__name__}", *names])
    else:
        return None
    return StoreUnavailable(f"the database answers with an error unknown to shipper ({told})",
                            "shipper tries again; please report it")  # fmt: skip


_SQLITE_CONSTRAINT, _POSTGRES_CHECK = 19, "23514"
_COUNTERS = frozenset({"delivered >= 0", "dead >= 0", "discarded >= 0", "purged >= 0"})


def _is_counter(error: Any) -> bool:
    """Return whether a counter would have become less than nothing: nothing of ours leads there."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == _SQLITE_CONSTRAINT:
        return str(error).rpartition("failed: ")[2] in _COUNTERS
    is_check = getattr(error, "sqlstate", None) == _POSTGRES_CHECK
    return is_check and error.diag.table_name == "shipper_destination"


# What SQLite says of a right that is missing, and of a file that can't be opened.
_OPENING = frozenset({3, 8, 14})  # PERM, READONLY, CANTOPEN
# What SQLite may say where a file, the -shm above all, can't grow.
_GROWING = frozenset({10, 14})  # IOERR, CANTOPEN
_BUSY, _FULL = 5, 13
# The -shm grows by half of this.
_NO_ROOM = 64 << 10


def _translate_sqlite(error: object, file: Path | None) -> ShipperError | None:
    """Return what a failure of SQLite's driver means; see `sqlite_codes`."""
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


def _looked_into(
    found: result_codes.Meaning, primary: int, file: Path | None
) -> result_codes.Meaning:
    """Return what it means once the disk and the rights are looked at: SQLite mixes them up."""
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
    """Return whether the system lets us write a database and what lies beside it."""
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


# --- PostgreSQL -----------------------------------------------------------------------------------

_Meaning = tuple[type[ShipperError], str, str | None]

_TABLES: _Meaning = (SchemaError, "the outbox's tables are not what this code expects", _UPGRADE)

_IN_THE_WAY: _Meaning = (
    SchemaError,
    "something else has a name that shipper needs",
    "rename it (an index keeps its name when its table is renamed), then: shipper db upgrade",
)


def _as_error(meaning: _Meaning, code: object) -> ShipperError:
    kind, message, hint = meaning
    return kind(f"{message} ({code})", hint)


_LOST = "the connection to the database was lost"

# postgresql.org/docs/current/errcodes-appendix.html; whole codes first, then classes.
_STATES: dict[str, _Meaning] = {
    "25006": (StoreUnavailable, "the server takes no writes", "is it a standby?"),
    "25P03": (StoreUnavailable, "the server ended an idle transaction", None),
    "40001": (StoreUnavailable, "the transaction met another one", None),
    "40P01": (StoreUnavailable, "the transaction met another one", None),
    "55P03": (StoreUnavailable, "another transaction holds the rows", None),
    "57014": (StoreUnavailable, "the server took too long and was stopped", None),
    "53100": (StoreUnavailable, "the server's disk is full", "free some space; nothing was lost"),
    "42501": (
        AccessDenied,
        "the database's role lacks a right",
        _RIGHTS,
    ),
    "42P01": _TABLES,
    "42703": _TABLES,
    "42883": _TABLES,
    "42P07": _IN_THE_WAY,
    "42710": _IN_THE_WAY,
    "3D000": (SchemaError, "the server has no database of that name", "create it first"),
    "3F000": (SchemaError, "the database has no schema on the search_path", None),
    "25P04": (StoreUnavailable, "the server ended a transaction that took too long", None),
    "08": (StoreUnavailable, _LOST, None),
    "28": (AccessDenied, "the server refuses the user or the password", None),
    "53": (StoreUnavailable, "the server has too few resources", None),
    "57": (StoreUnavailable, "the server is shutting down or starting", None),
    "58": (StoreUnavailable, "the server has trouble with its disk", "look into its log"),
    "XX": (StoreUnavailable, "the server has an internal error", "look into its log"),
}
_ITS_TRIGGER: _Meaning = (
    ForeignTrigger,
    "a trigger or constraint of the application's on shipper's tables fails",
    (
        "look at: SELECT tgrelid::regclass, tgname, tgfoid::regproc FROM pg_trigger WHERE NOT"
        " tgisinternal AND tgrelid::regclass::text LIKE '%shipper%'"
    ),
)
_CONSTRAINT, _RAISED = "23", "P0"
# Of these the server's own words name the table, the schema or the function, and no value.
_NAMES_IT = frozenset({"42501", "42P01", "42703", "42883", "42P07", "42710"})


def _translate_postgres(error: DBAPIError) -> ShipperError | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:
        # libpq gives no code for a connection that broke; why one can't be made is `refusal`'s.
        lost = type(error.orig).__name__ == "OperationalError" or error.connection_invalidated
        return StoreUnavailable(f"{_LOST}: {_first_line(error.orig)}") if lost else None
    meaning = _STATES.get(state) or _STATES.get(state[:2])
    if meaning is None or meaning[0] is not StoreUnavailable:
        theirs = _of_the_application(state, error.orig)
        if theirs is not None:
            kind, message, hint = _ITS_TRIGGER
            meaning = kind, f"{message}{theirs}", hint
    if meaning is not None and state in _NAMES_IT:
        kind, message, hint = meaning
        meaning = kind, f"{message}: {_first_line(error.orig)}", hint
    return _as_error(meaning, state) if meaning else None


# Where a server was, innermost first: "PL/pgSQL function audit() line 3 at RAISE", in any language.
_FUNCTION = re.compile(r'(?:\bPL/\w+(?:\W\w+)?|^SQL function) "?([\w.$]+)["(]', re.MULTILINE)
_LENGTH = 60


def _of_the_application(state: str, error: Any) -> str | None:
    """Return what of the application's failed within our statement, None where nothing of it did.

    Only names are told: what its function says may quote a row.
    """
    functions = _FUNCTION.findall(error.diag.context or "")
    for name in functions:
        if not _is_ours(name):
            return f": function {_shown(name)}"
    table = error.diag.table_name
    if state.startswith(_CONSTRAINT) and table and not _is_ours(table):
        return f": table {_shown(table)}"
    return "" if state.startswith(_RAISED) and not functions else None


def _is_ours(name: str) -> bool:
    return name.rpartition(".")[2].startswith("shipper_")


def _shown(name: str) -> str:
    return "".join(c for c in name if c.isprintable())[:_LENGTH]


def _first_line(error: object) -> str:
    """Return the first line of what libpq or the server says; a statement is no part of it."""
    return next(iter(str(error).strip().splitlines()), "no reason was given")

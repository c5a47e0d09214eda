"""What a failure of a PostgreSQL server means to an operator who can act on it.

The SQLSTATE decides, and never the server's text, which changes with versions and languages: only
the names of functions and tables come from that text. No message must ever show a statement's
parameters, which can be payloads. `login` says why a login fails.
"""

import re
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from shipper.errors import AccessDenied, ForeignTrigger, SchemaError, ShipperError, StoreUnavailable
from shipper.store.db.postgres.catalog import TABLES
from shipper.wording.quantities import lasting

_UPGRADE = "run: shipper db upgrade"
_LOCKED, _CHECK = "55P03", "23514"
_MET = frozenset({_LOCKED, "40P01"})  # lock_not_available, deadlock_detected
_RIGHTS = (
    "shipper's own role owns its tables, and needs CREATE on their schema to make them; where a"
    " policy hides rows from it: ALTER TABLE … NO FORCE ROW LEVEL SECURITY; `shipper db grants`"
    " prints what an application's role needs"
)

_Meaning = tuple[type[ShipperError], str, str | None]

_UNEXPECTED: _Meaning = (
    SchemaError,
    "the outbox's tables are not what this code expects",
    _UPGRADE,
)

_IN_THE_WAY: _Meaning = (
    SchemaError,
    "something else has a name that shipper needs",
    "rename it (an index keeps its name when its table is renamed), then: shipper db upgrade",
)

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
    "42501": (AccessDenied, "the database's role lacks a right", _RIGHTS),
    "42P01": _UNEXPECTED,
    "42703": _UNEXPECTED,
    "42883": _UNEXPECTED,
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
    "a trigger or constraint of the application on shipper's tables fails",
    (
        "look at: SELECT tgrelid::regclass, tgname, tgfoid::regproc FROM pg_trigger WHERE NOT"
        " tgisinternal AND tgrelid::regclass::text LIKE '%shipper%'"
    ),
)
_CONSTRAINT, _RAISED = "23", "P0"
# For these codes the server's text names the table, the schema or the function, and no value.
_NAMES_IT = frozenset({"42501", "42P01", "42703", "42883", "42P07", "42710"})


def is_failure(error: object) -> bool:
    """Return whether an error is of PostgreSQL's driver."""
    return hasattr(error, "sqlstate")


def is_counter(error: Any) -> bool:
    """Return whether the failure is a counter of `shipper_destination` below 0."""
    is_check = getattr(error, "sqlstate", None) == _CHECK
    return is_check and error.diag.table_name == "shipper_destination"


def named(error: Any) -> str:
    """Return the SQLSTATE of a failure and the object's name, '' if it has none; no values."""
    if not (state := getattr(error, "sqlstate", None)):
        return ""
    where = (("constraint", error.diag.constraint_name), ("table", error.diag.table_name))
    names = [f"{what} {_shown(name)}" for what, name in where if name]
    return ", ".join([f"{state} {type(error).__name__}", *names])


def is_locked(error: object) -> bool:
    """Return whether another transaction has locked what the statement needs."""
    return getattr(error, "sqlstate", None) == _LOCKED


def is_met(error: object) -> bool:
    """Return whether another transaction was in the way, and the same can be done again."""
    return getattr(error, "sqlstate", None) in _MET


def lockers(tx: Connection) -> list[str]:
    """Return the other processes that have locked our tables, the oldest transaction first."""
    return [
        f"process {row.pid} ({row.application or 'unnamed'}, {row.state or 'state not shown'}"
        + ("" if row.age is None else f", open for {lasting(row.age)}")
        + ("" if row.daemon is None else f", the daemon {row.daemon}")
        + ")"
        for row in tx.execute(_LOCKERS, {"tables": list(TABLES)})
    ]


def translate(error: DBAPIError) -> ShipperError | None:
    """Return what a failure means; None if only a change of shipper's code helps."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:
        # libpq gives no code for a broken connection. `login` says why a login fails.
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
    if meaning is None:
        return None
    kind, message, hint = meaning
    return kind(f"{message} ({state})", hint)


# Where a server was, innermost first: "PL/pgSQL function audit() line 3 at RAISE", in any language.
_FUNCTION = re.compile(r'(?:\bPL/\w+(?:\W\w+)?|^SQL function) "?([\w.$]+)["(]', re.MULTILINE)
_LENGTH = 60


def _of_the_application(state: str, error: Any) -> str | None:
    """Return the application's object that failed within our statement; None if none did.

    It returns only names: the message of a function can quote a row.
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
    """Return the first line of the message of libpq or the server; it has no statement."""
    return next(iter(str(error).strip().splitlines()), "no reason was given")


_LOCKERS = text(
    "SELECT pid, application_name AS application, state, CAST(extract(epoch FROM"
    " clock_timestamp() - xact_start) AS double precision) AS age,"
    # A lock of a row is the number of its transaction.
    " (SELECT d.name FROM shipper_daemon AS d WHERE d.xmax = backend_xid LIMIT 1) AS daemon"
    " FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid IN (SELECT l.pid FROM pg_locks"
    " AS l JOIN pg_class AS c ON c.oid = l.relation WHERE l.granted AND c.relname = ANY(:tables)"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND l.mode <> 'AccessShareLock') ORDER BY xact_start NULLS LAST LIMIT 3"
)

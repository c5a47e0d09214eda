"""Which revision of the outbox a database has, and whether this code knows it.

Every command asks this, so the module must never import more than SQLAlchemy's core.
"""

from sqlalchemy import Connection, Engine, text

from shipper.errors import SchemaError
from shipper.store.db.dialect import dialect_of, pick
from shipper.store.db.failures import file_of
from shipper.store.db.transactions import reading

# All revisions, the oldest first.
REVISIONS = tuple(f"{number:04}" for number in range(1, 14))
VERSION_TABLE = "shipper_alembic_version"
NOTE_LOST = f"{VERSION_TABLE}, which says what revision the outbox has, is missing or empty"

_MAY_READ = text("SELECT coalesce(has_table_privilege(to_regclass(:name), 'SELECT'), false)")

# Finds an outbox that the search_path of this session doesn't show.
_ELSEWHERE = text(
    "SELECT CAST(n.nspname AS text) FROM pg_class AS c JOIN pg_namespace AS n"
    " ON n.oid = c.relnamespace WHERE c.relname = 'shipper_outbox' AND c.relkind = 'r'"
    " AND c.relpersistence = 'p' AND to_regclass('shipper_outbox') IS NULL ORDER BY 1 LIMIT 1"
)

_UPGRADE = "run: shipper db upgrade"
_NEW = "is the path right, is the disk mounted? Only for a NEW outbox: shipper db upgrade --create"


def head() -> str:
    """Return the revision that this code works with."""
    return REVISIONS[-1]


def current(engine: Engine) -> str | None:
    """Return the revision of the database's outbox; None if there is no outbox of ours.

    Raises what `translating` makes of a database that can't be read.
    """
    with reading(engine) as connection:
        return read(connection)


def check(engine: Engine) -> None:
    """Raise SchemaError unless this code can work with the database."""
    with reading(engine) as connection:
        revision = read(connection)
        if revision is None:
            refuse_foreign(connection)
            raise _none(engine, connection)
    refuse_unknown(revision)
    if revision != head():
        raise SchemaError(f"the outbox has revision {revision}, this code needs {head()}", _UPGRADE)


def refuse_none(engine: Engine) -> None:
    """Raise SchemaError if there is no outbox, as in another application's database."""
    with reading(engine) as connection:
        if not exists(connection, VERSION_TABLE):
            refuse_foreign(connection)
            raise _none(engine, connection)


def refuse_unasked(engine: Engine) -> None:
    """Raise SchemaError if a new outbox is probably a mistake, and no operator asked for one.

    It is probably a mistake in an empty SQLite file, and on PostgreSQL beside an outbox that the
    search_path doesn't show.
    """
    with reading(engine) as connection:
        _refuse_another(connection)
    if dialect_of(engine).is_file:
        with reading(engine) as connection:
            empty = _is_empty(connection)
        if empty:
            file = file_of(engine)
            raise SchemaError(f"{file} is empty: no application has written there", _NEW)


def refuse_newer(engine: Engine) -> None:
    """Raise SchemaError for an outbox that a newer version has upgraded; accept a missing one.

    It accepts an older outbox too: the statement that needs a missing part fails. It never refuses
    an application's role, which can only write and so can't ask for the revision.
    """
    with reading(engine) as connection:
        revision = read(connection) if _may_ask(connection) else None
    if revision is not None:
        refuse_unknown(revision)


def read(connection: Connection) -> str | None:
    """Do what `current` does, in the caller's transaction."""
    if not exists(connection, VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return revision


def has_lost_its_note(connection: Connection) -> bool:
    """Return whether our outbox exists, by columns that it has had in each revision.

    A tool that drops all tables that it doesn't know also drops the note of the revision.
    """
    return bool(connection.scalar(text(dialect_of(connection).is_ours)))


def refuse_foreign(connection: Connection) -> None:
    """Raise SchemaError if the outbox's table exists, but not the note of its revision."""
    if has_lost_its_note(connection):
        raise SchemaError(NOTE_LOST, _UPGRADE)
    if exists(connection, "shipper_outbox"):
        raise SchemaError(
            "a table shipper_outbox is there that shipper did not create",
            "rename it, or give shipper another database or schema",
        )


def refuse_unknown(revision: str) -> None:
    """Raise SchemaError for a revision that is newer than this code."""
    if revision not in REVISIONS:
        raise SchemaError(
            f"the outbox has revision {revision}, which this version of shipper doesn't know",
            "a newer shipper has upgraded it: install that one",
        )


def _none(engine: Engine, connection: Connection) -> SchemaError:
    file = file_of(engine)
    if file is None:
        _refuse_another(connection)
        return SchemaError("no outbox in this database", _UPGRADE)
    if _is_empty(connection):
        return SchemaError(f"no outbox in this database ({file}, which is empty)", _NEW)
    return SchemaError(f"no outbox in this database ({file}): is it your application's?", _UPGRADE)


def _refuse_another(connection: Connection) -> None:
    """Raise SchemaError if there is an outbox that the search_path doesn't show."""
    elsewhere = pick(dialect_of(connection), sqlite=None, postgresql=_ELSEWHERE)
    schema = None if elsewhere is None else connection.execute(elsewhere).scalar()
    if schema is not None:
        path = connection.exec_driver_sql("SHOW search_path").scalar()
        raise SchemaError(
            f"no outbox on the search_path ({path}); there is one in schema {schema}",
            f"for that one: ?options=-csearch_path%3D{schema} in database.url, or ALTER ROLE … SET"
            " search_path. Only for a NEW outbox beside it: shipper db upgrade --create",
        )


def _is_empty(connection: Connection) -> bool:
    return connection.exec_driver_sql("PRAGMA page_count").scalar() == 0


def exists(connection: Connection, table: str) -> bool:
    """Return whether a table of this name exists."""
    return bool(connection.scalar(text(dialect_of(connection).has_table), {"name": table}))


def _may_ask(connection: Connection) -> bool:
    may_read = pick(dialect_of(connection), sqlite=None, postgresql=_MAY_READ)
    return may_read is None or bool(connection.scalar(may_read, {"name": VERSION_TABLE}))

"""Building an index over an outbox that is in use.

PostgreSQL builds an index while the application writes (CREATE INDEX CONCURRENTLY), but not in a
transaction: so this module builds it before the migration that needs it. SQLite builds an index in
one piece, and no other process can write meanwhile: so above a certain size, only an operator can
start that.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shipper.store.db.dialect import dialect_of, pick
from shipper.store.db.kept import close
from shipper.store.db.transactions import translating
from shipper.store.schema import ddl
from shipper.store.schema.revisions import REVISIONS

SMALL = 10_000
"""Over this many events, SQLite builds an index within a few hundredths of a second."""

_LARGE = text(f"SELECT EXISTS (SELECT 1 FROM shipper_outbox LIMIT 1 OFFSET {SMALL})")
_UNDEFINED_COLUMN = "42703"


def wanted(dialect: str, revision: str | None) -> list[str]:
    """Return the statements for the indexes that the migrations after a revision make."""
    if revision not in REVISIONS:
        return []
    after = REVISIONS[REVISIONS.index(revision) + 1 :]
    found = (_plain(block) for one in after for block in ddl.statements(one, dialect))
    return [statement for statement in found if statement.startswith(("CREATE INDEX", _UNIQUE))]


def is_large(tx: Connection) -> bool:
    """Return whether an index takes SQLite so long that a daemon must not begin it by itself."""
    return bool(tx.execute(_LARGE).scalar())


def build(engine: Engine, statements: Iterable[str]) -> None:
    """Build each index that is missing or half-built, while the application writes.

    If an index is on a column that doesn't exist yet, the migration makes both. It can take long,
    and no other process waits for it. Raises what `translating` makes of a failure.
    """
    for statement in statements:
        with translating(engine), _of_its_own(engine) as connection:
            _build(connection, statement)


def _build(connection: Connection, statement: str) -> None:
    name = statement.partition("INDEX ")[2].replace("IF NOT EXISTS ", "").split()[0]
    works = connection.execute(
        pick(dialect_of(connection), postgresql=_STATE), {"name": name}
    ).scalar()
    if works is False:
        connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {name}")
    if not works:
        try:
            beside = statement.replace("INDEX ", "INDEX CONCURRENTLY ", 1)
            connection.exec_driver_sql(beside)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _UNDEFINED_COLUMN:
                raise


@contextmanager
def _of_its_own(engine: Engine) -> Iterator[Connection]:
    """Yield a new connection, without transactions and without time limits."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        for setting in ("statement_timeout", "lock_timeout"):
            connection.exec_driver_sql(f"SET {setting} = 0")
        yield connection
    finally:
        close(connection)


def _plain(block: str) -> str:
    return "\n".join(line for line in block.splitlines() if not line.startswith("--"))


_UNIQUE = "CREATE UNIQUE INDEX"
# True for an index that works, false for a half-built one, NULL for a missing one.
_STATE = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")

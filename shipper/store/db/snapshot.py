"""How reports read: one view of the data, and every text as bytes first.

It must never wait for a writer, and never fail on what an application wrote: SQLite stores bytes
that aren't UTF-8 in a TEXT column, and Python would refuse to read the row.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from shipper.errors import UsageError
from shipper.store.db.dialect import Dialect
from shipper.store.db.transactions import glancing, reading


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a transaction whose statements all see the same data.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with reading(engine) as tx:
        if engine.dialect.name == "postgresql":
            tx.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield tx


@contextmanager
def sorting_on_disk(engine: Engine) -> Iterator[None]:
    """Let SQLite keep what it sorts in a temporary file, not in memory, for a question about all.

    PostgreSQL does so by itself. It can't be changed within a transaction.
    """
    if engine.dialect.name != "sqlite":
        yield
        return
    with glancing(engine) as tx:
        before = tx.exec_driver_sql("PRAGMA temp_store").scalar()
        tx.exec_driver_sql("PRAGMA temp_store = FILE")
    try:
        yield
    finally:
        with glancing(engine) as tx:
            tx.exec_driver_sql(f"PRAGMA temp_store = {before}")


def written(dialect: Dialect, column: str) -> str:
    """Return the fragment that reads a text column as it was written, whatever its bytes are."""
    return f"CAST({column} AS {'text' if dialect.name == 'postgresql' else 'BLOB'})"


def shown(value: str | bytes) -> str:
    """Return such a text for a person: what is no UTF-8 becomes a replacement character."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def asked(dialect: Dialect, value: str) -> str | bytes:
    """Return a text that somebody asks for as a parameter, to be cast to text in the statement.

    Raises UsageError for one that the database can't hold, so nothing in it can be meant.
    """
    if dialect.name == "sqlite":
        return value.encode("utf-8", "surrogateescape")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise UsageError("PostgreSQL holds no such text: it has a NUL or isn't UTF-8")
    return value

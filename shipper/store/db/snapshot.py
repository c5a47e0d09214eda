"""How reports read: one view of the data, and every text as bytes first.

A report must never wait for a writer, and never fail on what an application wrote: SQLite stores
bytes that aren't UTF-8 in a TEXT column, and Python would refuse to read the row.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.transactions import glancing, reading


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a transaction whose statements all see the same data.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with reading(engine) as tx:
        dialect_of(engine).one_view(tx)
        yield tx


@contextmanager
def sorting_on_disk(engine: Engine) -> Iterator[None]:
    """Let SQLite sort in a temporary file and not in memory, for a query of all rows.

    A server does so by itself. The setting can't be changed within a transaction.
    """
    if not dialect_of(engine).is_file:
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
    """Return the fragment that reads a text column byte for byte."""
    return f"CAST({column} AS {dialect.raw})"


def shown(value: str | bytes) -> str:
    """Return a text that `written` read; bytes that aren't UTF-8 become a replacement character."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def asked(dialect: Dialect, value: str) -> str | bytes:
    """Return a text that an operator asks for, as a parameter that a statement casts to text.

    Raises UsageError for a text that the database can't hold: no row can have it.
    """
    return dialect.bind_text(value)

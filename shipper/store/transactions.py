"""The kinds of transaction. Everything in `store` that runs SQL does so inside one of them.

All turn a driver's failure into one that somebody can act on. Neither may be open while anything
but the database is waited for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from shipper.store.failures import translating


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that commits at its end; on SQLite it has the write lock from the start.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(), engine.begin() as connection:
        yield connection


@contextmanager
def glancing(engine: Engine) -> Iterator[Connection]:
    """Open a connection for single statements that each look for themselves: the cheapest read.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only looks, with one view of the data; it never waits for a writer.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(), engine.connect().execution_options(read_only=True) as connection:
        yield connection

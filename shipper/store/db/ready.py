"""The drain's own transactions on an SQLite file: straight through the driver, and without a wait.

For a turn of one event, SQLAlchemy's begin and commit, and a PRAGMA at each change between writing
and reading, cost more than the statements. So these transactions use the kept connection as it is.
Engine and connection stay SQLAlchemy's, and failures are translated where all others are.

They must never wait: where they would have to (another process has the write lock, there is no
connection, a file has changed), the caller takes the ordinary transaction, which has patience.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeAlias

from sqlalchemy import Connection

from shipper.store.db.driver import wrapped
from shipper.store.db.kept import Kept

Translating: TypeAlias = Callable[[], AbstractContextManager[None]]


class ReadyTransaction:
    """A transaction that has begun, or a view for single statements; it commits at its end.

    `translating` turns a failure of the database into a ShipperError.
    """

    __slots__ = ("_connection", "_kept", "_translating", "_writes")

    def __init__(
        self, kept: Kept, connection: Connection, translating: Translating, *, writes: bool
    ) -> None:
        self._kept = kept
        self._connection = connection
        self._translating = translating
        self._writes = writes
        kept.busy = connection.connection.driver_connection

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        kept, connection = self._kept, self._connection
        if error is None:
            try:
                self._finish(connection)
            except BaseException as own:  # noqa: BLE001 - raised again below
                error = own
        kept.busy = kept.committing = None
        if error is None:
            kept.give_back(connection)
        else:
            kept.end(connection)
            with self._translating():
                raise error

    def _finish(self, connection: Connection) -> None:
        if self._writes:
            self._kept.committing = object()
            try:
                connection.dialect.do_commit(connection.connection)
            except connection.dialect.loaded_dbapi.Error as error:
                raise wrapped(connection, error, "COMMIT") from error
        if connection.in_transaction():  # a statement went SQLAlchemy's own way
            connection.rollback()


def begin(kept: Kept, translating: Translating) -> ReadyTransaction | None:
    """Begin a transaction that has the write lock; return None if that can't be done at once."""
    connection = kept.take_ready()
    if connection is None:
        return None
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute("BEGIN IMMEDIATE")
    except connection.dialect.loaded_dbapi.Error:  # the ordinary transaction reports it
        kept.give_back(connection)
        return None
    return ReadyTransaction(kept, connection, translating, writes=True)


def view(kept: Kept, translating: Translating) -> ReadyTransaction | None:
    """Return a view for single statements; None if it can't be had at once."""
    connection = kept.take_ready()
    if connection is None:
        return None
    return ReadyTransaction(kept, connection, translating, writes=False)

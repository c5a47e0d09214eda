"""The one connection that an engine keeps from one transaction to the next.

Taking a connection from the pool for each transaction would cost as much as the statements of a
small turn. A connection is closed after a failure.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, event

from shipper.errors import LeaseLost
from shipper.store.db.dialect import Dialect
from shipper.store.db.safeguard import Safeguard


class Kept:
    """An engine's connection between two transactions; none while a transaction is open."""

    def __init__(self, dialect: Dialect, safeguard: Safeguard) -> None:
        self._connection: Connection | None = None
        self._safeguard = safeguard
        self._also: list[tuple[Callable[[], None], Callable[[], bool]]] = []
        self.dialect = dialect
        self.busy: Any = None
        """The driver's own connection, while a transaction of ours is open on it."""
        self.committing: object | None = None
        """An object for the COMMIT that runs now; each COMMIT has another one."""

    def look_also(self, look: Callable[[], None], is_needed: Callable[[], bool]) -> None:
        """Call `look` before each transaction for which it `is_needed`.

        What it raises ends the transaction.
        """
        self._also.append((look, is_needed))

    def take(self, engine: Engine) -> Connection:
        """Return the connection, or a new one if it is in use.

        Raises LeaseLost if the database isn't the same as before, and what `Safeguard.save` raises.
        """
        try:
            is_there = self._safeguard.look()
        except LeaseLost:
            self.drop()
            raise
        if not is_there:
            self.drop()
        for look, _ in self._also:
            look()
        connection, self._connection = self._connection, None
        if connection is None:
            return engine.connect()
        if not self._safeguard.is_alive(connection):
            close(connection)
            return engine.connect()
        if not self._safeguard.is_intact():
            self._connection = connection  # kept if `save` fails: it has the removed WAL open
            self._safeguard.save(connection)
            self._connection = None
        return connection

    def take_ready(self) -> Connection | None:
        """Return the connection if it can be used as it is: without a wait, and nothing to save.

        None means that `take` has to find out what has changed, or to connect. Only a connection
        that was ready to write before is returned; its statements don't wait for a lock.
        """
        if not self.is_ready():
            return None
        connection, self._connection = self._connection, None
        return connection

    def is_ready(self) -> bool:
        """Return whether `take_ready` would return a connection."""
        connection = self._connection
        if connection is None or not self._safeguard.is_unchanged(self._is_more):
            return False
        return self._made_ready(connection)

    def _made_ready(self, connection: Connection) -> bool:
        if connection.get_execution_options().get("mode") == "ready":
            return True
        if not connection.info.get("ready"):
            return False
        self.dialect.prepare(connection, "ready")
        connection.execution_options(mode="ready")
        return True

    def _is_more(self) -> bool:
        return any(is_needed() for _, is_needed in self._also)

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next transaction."""
        if self._connection is None:
            self._connection = connection
            self._safeguard.remember()
        else:
            close(connection)

    def end(self, connection: Connection) -> None:
        """Close a connection that was taken and can't be used any more."""
        self._safeguard.before_closing()
        if self.dialect.is_file:
            _roll_back(connection)
        close(connection)
        if self._connection is None:
            self._safeguard.after_closing()

    def drop(self) -> None:
        """Close the connection; the next transaction gets a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.end(connection)


def keep(engine: Engine, dialect: Dialect, safeguard: Safeguard) -> Engine:
    """Return the engine, which keeps its connection from now on."""
    kept = Kept(dialect, safeguard)
    event.listen(engine, "engine_disposed", lambda _: kept.drop())
    engine.update_execution_options(kept=kept)
    return engine


def _roll_back(connection: Connection) -> None:
    """End an open transaction: SQLite itself keeps it after the close of a connection.

    Until the last statement of a connection is finalised, sqlite3_close_v2 leaves it as it is, with
    its write lock (sqlite.org/c3ref/close.html).
    """
    driver: Any = connection.connection.driver_connection
    with suppress(Exception):  # the connection may be broken
        if driver.in_transaction:
            driver.rollback()


def close(connection: Connection) -> None:
    """Close a connection for good: the next transaction must not find its old state."""
    connection.invalidate()
    connection.close()

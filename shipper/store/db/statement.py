"""A statement of the drain: made once for its database, then passed straight to the driver.

The drain runs the same few statements thousands of times a second, and SQLAlchemy's own path to the
driver takes ten times as long as SQLite needs for a row. Engine, connection and transaction are
SQLAlchemy's here too; only the path of the statement is short. It must only run within
`transactions`. It raises SQLAlchemy's errors, so that a driver's failure is translated in one
place.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from sqlalchemy import Connection, text

from shipper.store.db.dialect import Dialect
from shipper.store.db.driver import wrapped
from shipper.store.db.postgres.pipeline import Compiled, Pipeline

Values: TypeAlias = Mapping[str, Any]

_NONE: Values = {}


class Sent(Protocol):
    """The answer to a statement that was sent; ask for it once the channel was waited for."""

    @property
    def driver(self) -> object:
        """The driver's connection that has sent the statement."""

    @property
    def is_answered(self) -> bool:
        """Whether the database has done the statement."""

    def rows(self) -> Sequence[tuple[Any, ...]]:
        """Return the rows that the statement has found."""

    def changes(self) -> int:
        """Return how many rows the statement has changed."""


class Channel(NamedTuple):
    """Where statements are sent: a connection, and the pipeline that is open on it, if any."""

    tx: Connection
    pipeline: Pipeline | None = None

    def wait(self) -> None:
        """Wait for the answers so far; raises the driver's error for the first that failed."""
        if self.pipeline is not None:
            self.pipeline.wait()


class Statement:
    """One statement, with parameters like `:name`. Raises SQLAlchemy's DBAPIError."""

    __slots__ = ("_command", "_compiled", "_sql")

    def __init__(self, dialect: Dialect, sql: str) -> None:
        self._sql = sql
        self._command: Compiled | None = None
        # If the driver doesn't read names, SQLAlchemy's dialect of an engine has to compile it.
        self._compiled = sql if dialect.takes_names else None

    def rows(self, tx: Connection, values: Values = _NONE) -> Sequence[tuple[Any, ...]]:
        """Return the rows that it finds."""
        found: Sequence[tuple[Any, ...]] = self._run(tx, values, fetch=True)
        return found

    def row(self, tx: Connection, values: Values = _NONE) -> tuple[Any, ...]:
        """Return the only row that it finds."""
        [row] = self.rows(tx, values)
        return row

    def changes(self, tx: Connection, values: Values = _NONE) -> int:
        """Return how many rows it has changed."""
        changed: int = self._run(tx, values)
        return changed

    def each(self, tx: Connection, values: Sequence[Values]) -> int:
        """Run it once for each of the values; return how many rows that has changed."""
        changed: int = self._run(tx, values, many=True)
        return changed

    def send(self, channel: Channel, values: Values = _NONE) -> Sent:
        """Pass it to the database; in a pipeline nothing waits for its answer."""
        tx, pipeline = channel
        try:
            if pipeline is not None:
                return pipeline.send(self._command or self._parse(), values)
            cursor: Any = tx.connection.cursor()
            tx.dialect.do_execute(cursor, self._for(tx), values)
            # At once: a SELECT that isn't read to its end would keep its connection open.
            rows = () if cursor.description is None else cursor.fetchall()
        except tx.dialect.loaded_dbapi.Error as error:
            raise wrapped(tx, error, self._sql) from error
        return _Done(tx, cursor, rows)

    def send_each(self, channel: Channel, values: Sequence[Values]) -> None:
        """Pass it to the database once for each of the values."""
        if channel.pipeline is None:
            self.each(channel.tx, values)
            return
        for one in values:
            self.send(channel, one)

    def _parse(self) -> Compiled:
        self._command = Compiled(self._sql)
        return self._command

    def _run(self, tx: Connection, values: Any, *, many: bool = False, fetch: bool = False) -> Any:
        """Pass it to the driver; return the rows, or how many rows were changed."""
        execute = tx.dialect.do_executemany if many else tx.dialect.do_execute
        try:
            cursor = tx.connection.cursor()
            execute(cursor, self._for(tx), values)
            return cursor.fetchall() if fetch else cursor.rowcount
        except tx.dialect.loaded_dbapi.Error as error:
            raise wrapped(tx, error, self._sql) from error

    def _for(self, tx: Connection) -> str:
        if self._compiled is None:
            self._compiled = str(text(self._sql).compile(dialect=tx.dialect))
        return self._compiled


class _Done:
    """The answer to a statement that the driver has done at once."""

    __slots__ = ("_cursor", "_rows", "_tx")

    def __init__(self, tx: Connection, cursor: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        self._tx = tx
        self._cursor = cursor
        self._rows = rows

    @property
    def driver(self) -> object:
        return self._tx.connection.driver_connection

    @property
    def is_answered(self) -> bool:
        return True

    def rows(self) -> Sequence[tuple[Any, ...]]:
        return self._rows

    def changes(self) -> int:
        changed: int = self._cursor.rowcount
        return changed

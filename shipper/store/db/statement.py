"""A statement of the drain: made once for its database, then passed straight to the driver.

The drain runs the same few statements thousands of times a second, and SQLAlchemy's own path to the
driver takes ten times as long as SQLite needs for a row. Engine, connection and transaction are
SQLAlchemy's here too; only the path of the statement is short. It must only run within
`transactions`. It raises SQLAlchemy's errors, so that a driver's failure is translated in one
place.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, text

from shipper.store.db.dialect import Dialect
from shipper.store.db.driver import wrapped

Values: TypeAlias = Mapping[str, Any]

_NONE: Values = {}


class Statement:
    """One statement, with parameters like `:name`. Raises SQLAlchemy's DBAPIError."""

    __slots__ = ("_compiled", "_sql")

    def __init__(self, dialect: Dialect, sql: str) -> None:
        self._sql = sql
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

"""The types of our columns, as SQLAlchemy Core knows them: how values are written and read."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import LargeBinary, Text, TypeDecorator, cast, func, type_coerce
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine, UserDefinedType

from shipper.clock import iso, parse_iso
from shipper.store.db.dialect import named, pick


class UtcTime(TypeDecorator[float]):
    """Seconds since 1970: TEXT like `2026-11-23T08:15:00.123Z` on SQLite, else timestamptz."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's type for a time."""
        return dialect.type_descriptor(
            pick(named(dialect.name), sqlite=Text(), postgresql=TIMESTAMP(timezone=True))
        )

    def process_bind_param(self, value: float | None, dialect: Dialect) -> str | datetime | None:
        """Return the value to write: on SQLite a text with milliseconds, which sorts by time."""
        if value is None:
            return None
        choices: dict[str, str | datetime] = {
            "sqlite": iso(value),
            "postgresql": datetime.fromtimestamp(value, UTC),
        }
        return pick(named(dialect.name), **choices)

    def process_result_value(self, value: str | datetime | None, dialect: Dialect) -> float | None:  # noqa: ARG002
        """Return seconds; raises ValueError for a text that isn't a time."""
        if value is None:
            return None
        return value.timestamp() if isinstance(value, datetime) else parse_iso(value)


class SqliteName(TypeDecorator[str]):
    """An application's text, selected as bytes: Python refuses a batch with one invalid UTF-8."""

    impl = Text
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Select the bytes as they are stored."""
        return type_coerce(cast(column, LargeBinary), self)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return str, with U+FFFD for bytes that aren't UTF-8."""
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class PostgresJson(UserDefinedType[bytes]):
    """PostgreSQL's json, bound as a text and selected as the bytes that were written."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return json and not jsonb, which would write the text in another form."""
        return "JSON"

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Select the text's bytes."""
        return func.convert_to(cast(column, Text), "UTF8", type_=LargeBinary)


class SqliteJson(UserDefinedType[bytes]):
    """SQLite's JSON text; selected as bytes, because SQLite doesn't check that it is UTF-8."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type whose affinity leaves a text as it is."""
        return "TEXT"

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Select the text's bytes."""
        return cast(column, LargeBinary)


class Xid8(UserDefinedType[str]):
    """A PostgreSQL transaction id that never wraps around."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name."""
        return "xid8"

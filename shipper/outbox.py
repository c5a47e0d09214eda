"""Writes an event into the outbox for an application: one INSERT in the application's transaction.

It decides whether the event has the right form, and the ids of an event for several destinations.
It must never commit, roll back or open a transaction of its own. It imports nothing heavier than
SQLAlchemy, because it runs in the application's process.
"""

import re
from collections.abc import Awaitable
from functools import cache
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload
from uuid import uuid4

from sqlalchemy import JSON, Text, column, table, types
from sqlalchemy import cast as sql_cast

from shipper.contract.encoding import encode
from shipper.contract.validation import UNSENDABLE, violations
from shipper.contract.violation import Violation, describe, violation
from shipper.errors import InvalidEvent, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Insert
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session
    from sqlalchemy.sql.elements import BindParameter, ColumnElement

# None of them allows a lone surrogate, because no database can store one.
_RULES = {
    "event_id": (
        re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}"),
        "must be a string of 1 to 255 characters, none of them a control character",
    ),
    "ordering_key": (
        re.compile(r"[^\x00\ud800-\udfff]{1,255}"),
        "must be a string of at most 255 characters, none of them NUL",
    ),
    "destination": (
        re.compile(r"[a-z][a-z0-9_]*"),
        "must be a name of small letters, digits and _ that begins with a letter",
    ),
}

_ID_CHARS = 255

Written = TypeVar("Written", str, Awaitable[str])


class _JsonAsWritten(types.TypeDecorator[str]):
    """A JSON text that the database checks and doesn't rewrite."""

    impl = Text
    cache_ok = True

    def bind_expression(self, bindparam: "BindParameter[str]") -> "ColumnElement[Any]":
        """Cast the parameter, because Postgres doesn't convert text to json by itself."""
        return sql_cast(bindparam, JSON())


_OUTBOX = table(
    "shipper_outbox",
    column("payload", Text().with_variant(_JsonAsWritten(), "postgresql")),
    column("destination", Text()),
    column("ordering_key", Text()),
    column("event_id", Text()),
)


class Outbox(Generic[Written]):
    """The outbox, written through one SQLAlchemy Session or Connection, or an async one."""

    @overload
    def __init__(
        self: "Outbox[str]", session: "Session | scoped_session[Any] | Connection"
    ) -> None: ...

    @overload
    def __init__(
        self: "Outbox[Awaitable[str]]",
        session: "AsyncSession | async_scoped_session[Any] | AsyncConnection",
    ) -> None: ...

    def __init__(self, session: Any) -> None:
        self._session = session

    def add(
        self,
        event: dict[str, Any] | str | bytes,
        ordering_key: str | None = None,
        event_id: str | None = None,
        destination: str = "default",
        destinations: list[str] | tuple[str, ...] | None = None,
        *,
        validation: Literal["envelope", "off"] = "envelope",
    ) -> Written:
        """Write an event in the caller's transaction and return its `event_id`. Never commits.

        If the outbox has the `event_id` already, nothing is written, so the call can be repeated.
        On an AsyncSession or AsyncConnection, await the call. None and '' count as left out. Raises
        InvalidEvent, with every violation, before anything is sent to the database.

        With `destinations`, one row is written for each, all or none. The first one has the
        `event_id`, the others have it with `@NAME` behind it. So that a repeated call writes
        nothing twice, keep their order and add new ones at the end. Raises UsageError if
        `destination` names another one.

        With `validation` "off" the event can be any JSON text, for an API of kind http that has no
        `type`.
        """
        written = str(uuid4()) if event_id in (None, "") else event_id
        first = "default" if destination in (None, "") else destination
        columns = {
            "destination": first,
            "ordering_key": None if ordering_key == "" else ordering_key,
            "event_id": written,
        }
        found: list[Violation] = []
        rows = [columns]
        if destinations is not None:
            if first != "default":
                raise UsageError("destination and destinations exclude each other", "take one")
            found, rows = _fanned_out(columns, destinations)
        payload = _checked(event, rows, found, validation)
        statement, values = _insert(self._dialect()), [{"payload": payload, **row} for row in rows]
        if len(values) == 1:
            result = self._session.execute(statement, values[0])
        else:  # one statement, so that the database writes all rows or none
            result = self._session.execute(statement.values(values))
        return cast("Written", _after(result, written) if isawaitable(result) else written)

    def _dialect(self) -> str:
        is_connection = hasattr(self._session, "dialect")
        bound = self._session if is_connection else self._session.get_bind()
        return str(bound.dialect.name)


async def _after(result: Awaitable[object], event_id: str) -> str:
    await result
    return event_id


@cache
def _insert(dialect: str) -> "Insert":
    """Return the INSERT of this module. Raises UsageError on a database that isn't supported."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 - only the dialect in use is imported

        return sqlite.insert(_OUTBOX).on_conflict_do_nothing(index_elements=["event_id"])
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - see above

        return postgresql.insert(_OUTBOX).on_conflict_do_nothing(index_elements=["event_id"])
    raise UsageError(f"the outbox can't be in {dialect}", "use SQLite or PostgreSQL")


def _fanned_out(
    columns: dict[str, Any], destinations: object
) -> tuple[list[Violation], list[dict[str, Any]]]:
    """Return what is wrong with a list of destinations, and the row for each of them."""
    if not isinstance(destinations, list | tuple) or not destinations:
        return [_breach("destinations", "must be a list of at least one name")], [columns]
    found = []
    if any(name in destinations[:place] for place, name in enumerate(destinations)):
        found.append(_breach("destinations", "must not have a name twice"))
    # A name that is None would count as left out.
    first, *others = [{**columns, "destination": name or ""} for name in destinations]
    for row in others:
        row["event_id"] = f"{columns['event_id']}@{row['destination']}"
    if any(len(row["event_id"]) > _ID_CHARS for row in others):
        message = "must have at most 255 characters with @ and the destination's name behind it"
        return [*found, _breach("event_id", message)], [first]
    return found, [first, *others]


def _checked(
    event: dict[str, Any] | str | bytes,
    rows: list[dict[str, Any]],
    found: list[Violation],
    validation: Literal["envelope", "off"],
) -> str:
    """Return the event's text. Raises InvalidEvent with every violation of it and the columns."""
    for row in rows:
        found += [breach for breach in _column_violations(row) if breach not in found]
    payload = b""
    try:
        payload = encode(event)
        broken = violations(payload, "envelope")
        found += [b for b in broken if validation == "envelope" or b["keyword"] in UNSENDABLE]
    except InvalidEvent as refused:
        found += refused.violations
    if found:
        raise InvalidEvent(describe(found), found)
    return payload.decode()


def _column_violations(columns: dict[str, Any]) -> list[Violation]:
    found = []
    for name, value in columns.items():
        pattern, message = _RULES[name]
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            found.append(_breach(name, message))
    return found


def _breach(column: str, message: str) -> Violation:
    return violation("", f"shipper_outbox#/{column}/pattern", {"column": column}, message)

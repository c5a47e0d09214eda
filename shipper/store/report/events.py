"""Finds events: a list by filters, or one event with its payload and its history.

For the `events` commands. Reads only. It must never fail on what an application wrote: every text
is read as bytes, and shown with replacement characters.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.contract.violation import in_words
from shipper.store.db.dialect import ALL_IDS, Dialect, dialect_of
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import asked, shown, snapshot, written
from shipper.store.drain.messages import HistoryRow
from shipper.store.drain.tries import TRIED_BEFORE

LINE_CHARS = 120
EVENT_ID_PREFIX = "event_id:"


@dataclass(frozen=True, slots=True)
class EventReport:
    """An event as a list shows it. Times are seconds since 1970.

    `attempts` counts the failures that were charged to it, `tries` all tries with a known outcome.
    """

    id: int
    event_id: str
    destination: str
    ordering_key: str | None
    status: str
    attempts: int
    tries: int
    created_at: float
    next_attempt_at: float | None
    delivered_at: float | None
    last_status_code: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class EventDetail:
    """One event with all that is known of it: its payload as text, its history in order."""

    event: EventReport
    payload: str
    history: tuple[HistoryRow, ...]


def find(engine: Engine, selection: Selection, limit: int = 50) -> list[EventReport]:
    """Return the newest events that fit, the newest first."""
    dialect = dialect_of(engine)
    condition, values = selection.where(dialect)
    statement = text(
        f"SELECT {_columns(dialect)} FROM shipper_outbox WHERE {condition}"
        " ORDER BY id DESC LIMIT :limit"
    )
    with snapshot(engine) as tx:
        return [_event(dialect, row) for row in tx.execute(statement, {**values, "limit": limit})]


def get(engine: Engine, ident: str) -> EventDetail | None:
    """Return the event that `ident` names: `4711` is an `id`, `event_id:4711` an event id."""
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        row_id = _locate(tx, dialect, ident)
        if row_id is None:
            return None
        values = {"id": row_id}
        row = tx.execute(_event_statement(dialect), values).one()
        tries = tx.execute(_history_statement(dialect), values)
        history = tuple(_attempt(dialect, attempt) for attempt in tries)
    return EventDetail(_event(dialect, row), shown(row.payload), history)


def last_answers(engine: Engine, ids: Iterable[int]) -> dict[int, str]:
    """Return the receiver's answer to each event's last try, else the error of that try.

    In one line of at most `LINE_CHARS`: some receivers answer with the whole request.
    """
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        found = {row: tx.execute(_LAST_ANSWER, {"id": row}).one_or_none() for row in ids}
    return {
        row: _line(in_words(dialect.text(said.response_excerpt or said.last_error)))
        for row, said in found.items()
        if said is not None and (said.response_excerpt or said.last_error)
    }


def _line(words: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 1]}…"


def locate(engine: Engine, idents: Iterable[str]) -> dict[str, int | None]:
    """Return the `id` that each one names, as in `get`; None if there is no such event."""
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        return {ident: _locate(tx, dialect, ident) for ident in idents}


def _locate(tx: Connection, dialect: Dialect, ident: str) -> int | None:
    if ident.isascii() and ident.isdigit():
        # A number of 20 digits is greater than every id, and greater than a driver can bind.
        number = int(ident[:20])
        found = tx.execute(_BY_ID, {"ident": number if number <= ALL_IDS else 0})
    else:
        event_id = asked(dialect, ident.removeprefix(EVENT_ID_PREFIX))
        found = tx.execute(_BY_EVENT_ID, {"ident": event_id})
    row_id: int | None = found.scalar()
    return row_id


def _columns(dialect: Dialect) -> str:
    texts = [f"{written(dialect, c)} AS {c}" for c in ("event_id", "destination", "ordering_key")]
    times = [
        f"{dialect.moment.format(c)} AS {c}"
        for c in ("created_at", "next_attempt_at", "delivered_at")
    ]
    return ", ".join(
        ["id", *texts, *times, f"status, attempts, {_TRIES} AS tries, last_status_code, last_error"]
    )


def _event_statement(dialect: Dialect) -> TextClause:
    payload = written(dialect, "payload")
    return text(
        f"SELECT {_columns(dialect)}, {payload} AS payload FROM shipper_outbox WHERE id = :id"
    )


def _history_statement(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT {dialect.moment.format('started_at')} AS started_at, duration_ms, outcome,"
        " status_code, error, response_excerpt, manual"
        " FROM shipper_attempt WHERE outbox_id = :id ORDER BY id"
    )


def _event(dialect: Dialect, row: Row[Any]) -> EventReport:
    return EventReport(
        id=row.id,
        event_id=shown(row.event_id),
        destination=shown(row.destination),
        ordering_key=None if row.ordering_key is None else shown(row.ordering_key),
        status=row.status,
        attempts=row.attempts,
        tries=row.tries,
        created_at=dialect.wall(row.created_at) or 0.0,
        next_attempt_at=dialect.wall(row.next_attempt_at),
        delivered_at=dialect.wall(row.delivered_at),
        last_status_code=row.last_status_code,
        last_error=row.last_error,
    )


def _attempt(dialect: Dialect, row: Row[Any]) -> HistoryRow:
    return HistoryRow(
        started_at=dialect.wall(row.started_at) or 0.0,
        duration_ms=row.duration_ms,
        outcome=row.outcome,
        status_code=row.status_code,
        error=row.error,
        response_excerpt=row.response_excerpt,
        manual=bool(row.manual),
    )


_LAST_ANSWER = text(
    "SELECT last_error, (SELECT response_excerpt FROM shipper_attempt WHERE outbox_id = :id"
    " ORDER BY id DESC LIMIT 1) AS response_excerpt FROM shipper_outbox WHERE id = :id"
)
# For events from before tries were counted: the history counts, and a delivered event had one try.
_BEFORE = TRIED_BEFORE.format(row="shipper_outbox")
_TRIES = (
    f"CASE WHEN tries > 0 THEN tries WHEN {_BEFORE} > 0 THEN {_BEFORE}"
    " WHEN status = 'delivered' THEN 1 ELSE 0 END"
)
_BY_ID = text("SELECT id FROM shipper_outbox WHERE id = :ident")
_BY_EVENT_ID = text("SELECT id FROM shipper_outbox WHERE event_id = CAST(:ident AS text)")

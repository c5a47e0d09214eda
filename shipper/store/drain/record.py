"""Records what became of events: their rows, their history, the counters, the links.

All of it is written in the transaction of the turn, so that the counters always equal a recount.
`delivery_number` is the order in which events ended; clocks can't show that order.

An id alone doesn't identify an event: the table may have been emptied and its ids begun again. The
outcome of an old event must never be recorded for a new one with the same id.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

import orjson
from sqlalchemy import Connection

from shipper.policy.delivery import Status
from shipper.store.db.dialect import DIALECTS, POSTGRES, SQLITE, Dialect, pick
from shipper.store.db.statement import Statement
from shipper.store.drain.messages import LinkRow, Record

ATTEMPTS_KEPT = 50
ERROR_CHARS = 1000

_NAMES = ("id", "event_id")
_COLUMNS = {
    "id": "bigint",
    "event_id": "text",
    "status": "text",
    "attempts": "int",
    "next_attempt_at": "double precision",
    "delivered_at": "double precision",
    "last_status_code": "int",
    "last_error": "text",
    "maybe_received": "smallint",
    "delivery_number": "bigint",
}


TRIED_BEFORE = (
    "(SELECT count(*) FROM shipper_attempt AS h"
    " WHERE h.outbox_id = {row}.id AND h.outcome <> 'rerouted')"
)
"""The tries of an event in its history, for events from before `tries` was counted."""


def _also(row: str) -> str:
    # A record is the outcome of one try, so counting costs no write of its own. The history is read
    # only for an event that failed before the counting began.
    return (
        f"manual = 0, tries = 1 + CASE WHEN {row}.tries = 0 AND {row}.last_error IS NOT NULL"
        f" THEN {TRIED_BEFORE.format(row=row)} ELSE {row}.tries END"
    )


def is_end(record: Record) -> bool:
    """Return whether the event isn't pending any more after this record."""
    return record.verdict.status is not Status.PENDING


def write(
    tx: Connection, dialect: Dialect, records: Sequence[Record], *, number: int, turn: int
) -> None:
    """Record what became of events; `number` is the last delivery number before `turn`."""
    if not records:
        return
    ends = count(number + 1)
    numbers = [next(ends) if is_end(record) else None for record in records]
    update = pick(dialect, sqlite=_update_in_file, postgresql=_update_on_server)
    if update(tx, records, numbers, turn) != len(records):
        records = _written(tx, dialect, records, numbers)
    if dialect.fence.fold_all is None:
        _count(tx, records)
    _remember(tx, dialect, [record for record in records if record.history is not None])
    for record in records:
        if record.holds_key:
            _hold(tx, dialect, record)


def _update_on_server(
    tx: Connection, records: Sequence[Record], numbers: Sequence[int | None], turn: int
) -> int:
    """Update the events that are still pending, and count them; return their number."""
    rows = [_row(POSTGRES, *pair) for pair in zip(records, numbers, strict=True)]
    arrays: dict[str, Any] = {name: [row[name] for row in rows] for name in _COLUMNS}
    [changed] = _UPDATE_MANY.row(tx, {"turn": turn, **arrays})
    return int(changed)


def _update_in_file(
    tx: Connection, records: Sequence[Record], numbers: Sequence[int | None], _: int
) -> int:
    """Update the events that are still pending; return their number."""
    # Nearly all were delivered. One statement for all of them gives the network's thread a turn
    # once, not once per event.
    delivered: list[tuple[Any, ...]] = []
    others: list[dict[str, Any]] = []
    for record, number in zip(records, numbers, strict=True):
        event, verdict = record.event, record.verdict
        if verdict.status is Status.DELIVERED:
            # A text that isn't ASCII may be invalid UTF-8, which JSON can't hold.
            name = event.event_id if event.event_id.isascii() else None
            row = (event.id, verdict.attempts, record.at, record.status_code, number, name)
            delivered.append(row)
        else:
            others.append(_row(SQLITE, record, number))
    changes = _UPDATE_ONE.each(tx, others) if others else 0
    if delivered:
        changes += _UPDATE_DELIVERED.changes(tx, {"rows": orjson.dumps(delivered).decode()})
    return changes


def write_link(tx: Connection, dialect: Dialect, link: LinkRow, now: float) -> None:
    """Store a destination's state for `status`."""
    values = {
        "name": link.destination,
        "state": link.state,
        "reason": link.reason,
        "since": dialect.bind_time(link.since),
        "next_try_at": dialect.bind_time(link.next_try_at),
        "failures": link.failures,
        "last_error": link.last_error,
        "failing_since": dialect.bind_time(link.failing_since),
        "now": dialect.bind_time(now),
    }
    _WRITE_LINK[dialect.name].changes(tx, values)


def _written(
    tx: Connection, dialect: Dialect, records: Sequence[Record], numbers: Sequence[int | None]
) -> list[Record]:
    """Return the records that were written; the other events weren't there, or not pending."""
    ids = dialect.bind_ids([record.event.id for record in records])
    now = set(_NUMBERS[dialect.name].rows(tx, {"ids": ids}))
    return [
        record
        for record, number in zip(records, numbers, strict=True)
        if (record.event.id, record.verdict.status.value, number) in now
    ]


def _row(dialect: Dialect, record: Record, number: int | None) -> dict[str, Any]:
    verdict = record.verdict
    delivered = verdict.status is Status.DELIVERED
    return {
        "id": record.event.id,
        "event_id": dialect.bind_key(record.event.event_id),
        "status": verdict.status.value,
        "attempts": verdict.attempts,
        "next_attempt_at": dialect.bind_time(record.next_attempt_at),
        "delivered_at": dialect.bind_time(record.at) if delivered else None,
        "last_status_code": record.status_code,
        "last_error": record.error[:ERROR_CHARS] if record.error else None,
        "maybe_received": int(verdict.maybe_received),
        "delivery_number": number,
    }


def _count(tx: Connection, records: Sequence[Record]) -> None:
    ended = Counter(
        (record.event.destination, record.verdict.status) for record in records if is_end(record)
    )
    for name in sorted({destination for destination, _ in ended}):
        values = {
            "name": name,
            "delivered": ended[name, Status.DELIVERED],
            "dead": ended[name, Status.DEAD],
        }
        _COUNT.changes(tx, values)


def _remember(tx: Connection, dialect: Dialect, records: Sequence[Record]) -> None:
    if not records:
        return
    rows = [
        {
            "outbox_id": record.event.id,
            "event_id": dialect.bind_key(record.event.event_id),
            "started_at": dialect.bind_time(attempt.started_at),
            "duration_ms": attempt.duration_ms,
            "outcome": attempt.outcome,
            "status_code": attempt.status_code,
            "error": attempt.error[:ERROR_CHARS] if attempt.error else None,
            "response_excerpt": attempt.response_excerpt,
            "manual": int(attempt.manual),
        }
        for record in records
        if (attempt := record.history) is not None
    ]
    _ADD_ATTEMPT[dialect.name].each(tx, rows)
    trim_history(tx, dialect, [record.event.id for record in records])


def trim_history(tx: Connection, dialect: Dialect, ids: Iterable[int]) -> None:
    """Keep the last `ATTEMPTS_KEPT` rows of these events' histories; delete the older ones."""
    _TRIM_ATTEMPTS[dialect.name].each(tx, [{"outbox_id": row} for row in ids])


def _hold(tx: Connection, dialect: Dialect, record: Record) -> None:
    event = record.event
    if event.ordering_key is not None:
        values = {
            "destination": event.destination,
            "key": dialect.bind_key(event.ordering_key),
            "event_id": dialect.bind_key(event.event_id),
            "now": dialect.bind_time(record.at),
        }
        _HOLD[dialect.name].changes(tx, values)


def _update_one() -> Statement:
    assignments = ", ".join(f"{name} = :{name}" for name in _COLUMNS if name not in _NAMES)
    return Statement(
        SQLITE,
        f"UPDATE shipper_outbox SET {assignments}, {_also('shipper_outbox')}"
        " WHERE id = :id AND status = 'pending' AND event_id = CAST(:event_id AS TEXT)",
    )


def _update_delivered() -> Statement:
    row, attempts, at, code, number, name = (f"json_extract(r.value, '$[{n}]')" for n in range(6))
    return Statement(
        SQLITE,
        f"UPDATE shipper_outbox{SQLITE.by_id} SET status = '{Status.DELIVERED.value}',"
        f" attempts = {attempts},"
        f" delivered_at = strftime('%Y-%m-%dT%H:%M:%fZ', {at}, 'unixepoch'),"
        f" last_status_code = {code}, delivery_number = {number},"
        f" next_attempt_at = NULL, last_error = NULL, maybe_received = 0,"
        f" {_also('shipper_outbox')}"
        " FROM json_each(:rows) AS r"
        f" WHERE shipper_outbox.id = {row} AND shipper_outbox.status = 'pending'"
        f" AND event_id = coalesce({name}, event_id)",
    )


def _update_many() -> Statement:
    times = {"next_attempt_at", "delivered_at"}
    assignments = ", ".join(
        f"{name} = to_timestamp(r.{name})" if name in times else f"{name} = r.{name}"
        for name in _COLUMNS
        if name not in _NAMES
    )
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMNS.items())
    # The same statement also counts, because every statement is a round trip to the server.
    return Statement(
        POSTGRES,
        "WITH written AS ("
        f"UPDATE shipper_outbox AS o SET {assignments}, {_also('o')}"
        f" FROM unnest({arrays}) AS r ({', '.join(_COLUMNS)})"
        " WHERE o.id = r.id AND o.status = 'pending' AND o.event_id = r.event_id"
        " RETURNING o.destination, o.status"
        "), counted AS ("
        # `turns` adds these counts up later.
        "INSERT INTO shipper_count (turn, name, delivered, dead) SELECT :turn, destination,"
        " count(*) FILTER (WHERE status = 'delivered'), count(*) FILTER (WHERE status = 'dead')"
        " FROM written WHERE status <> 'pending' GROUP BY destination"
        ") SELECT count(*) FROM written",
    )


_ADD_UP = (
    "ON CONFLICT (name) DO UPDATE SET"
    " delivered = shipper_destination.delivered + excluded.delivered,"
    " dead = shipper_destination.dead + excluded.dead"
)
_UPDATE_ONE = _update_one()
_UPDATE_DELIVERED = _update_delivered()
_UPDATE_MANY = _update_many()
_COUNT = Statement(
    SQLITE,
    "INSERT INTO shipper_destination (name, delivered, dead) VALUES (:name, :delivered, :dead)"
    f" {_ADD_UP}",
)


def _for_each(make: Callable[[Dialect], str]) -> dict[str, Statement]:
    return {dialect.name: Statement(dialect, make(dialect)) for dialect in DIALECTS.values()}


_TRIM_ATTEMPTS = _for_each(
    lambda _: (
        "DELETE FROM shipper_attempt WHERE outbox_id = :outbox_id AND id <= (SELECT id"
        " FROM shipper_attempt WHERE outbox_id = :outbox_id"
        f" ORDER BY id DESC LIMIT 1 OFFSET {ATTEMPTS_KEPT})"
    )
)
_NUMBERS = _for_each(
    lambda d: f"SELECT id, status, delivery_number FROM shipper_outbox{d.by_id} WHERE id IN {d.ids}"
)
_ADD_ATTEMPT = _for_each(
    lambda d: (
        "INSERT INTO shipper_attempt (outbox_id, event_id, started_at, duration_ms, outcome,"
        " status_code, error, response_excerpt, manual) VALUES (:outbox_id,"
        f" CAST(:event_id AS TEXT), {d.time.format('started_at')}, :duration_ms, :outcome,"
        " :status_code, :error, :response_excerpt, :manual)"
    )
)
_HOLD = _for_each(
    lambda d: (
        "INSERT INTO shipper_hold (destination, ordering_key, cause, event_id, since)"
        " VALUES (:destination, CAST(:key AS TEXT), 'dead_letter', CAST(:event_id AS TEXT),"
        f" {d.time.format('now')}) ON CONFLICT DO NOTHING"
    )
)
_WRITE_LINK = _for_each(
    lambda d: (
        "INSERT INTO shipper_destination (name, state, reason, since, next_try_at, updated_at,"
        f" failures, last_error, failing_since) VALUES (:name, :state, :reason,"
        f" {d.time.format('since')}, {d.time.format('next_try_at')}, {d.time.format('now')},"
        f" :failures, :last_error, {d.time.format('failing_since')})"
        " ON CONFLICT (name) DO UPDATE SET state = excluded.state, reason = excluded.reason,"
        # For a held destination, `since` is when it was held.
        " since = CASE shipper_destination.held WHEN 1 THEN shipper_destination.since"
        " ELSE excluded.since END, next_try_at = excluded.next_try_at,"
        " updated_at = excluded.updated_at, failures = excluded.failures,"
        " last_error = excluded.last_error, failing_since = excluded.failing_since"
    )
)

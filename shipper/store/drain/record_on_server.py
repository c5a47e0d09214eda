"""Records on PostgreSQL what became of events: one statement for all the records of a turn.

It decides which statement that is: nearly always all events were delivered, and then most columns
have the same value. The statement also counts, because `shipper_count` must always equal the rows.
An outcome must never be recorded for another event than the one that was sent.
"""

from collections.abc import Callable, Sequence
from typing import Any

from shipper.policy.delivery import Status
from shipper.store.db.dialect import POSTGRES
from shipper.store.db.statement import Channel, Statement
from shipper.store.drain.messages import Record
from shipper.store.drain.tries import ERROR_CHARS, and_counted
from shipper.store.lease.turns import Turn

_DELIVERED = {
    "id": "bigint",
    "event_id": "text",
    "attempts": "int",
    "delivered_at": "double precision",
    "last_status_code": "int",
    "delivery_number": "bigint",
}
_ANY = {
    **_DELIVERED,
    "status": "text",
    "next_attempt_at": "double precision",
    "last_error": "text",
    "maybe_received": "smallint",
}
_NAMES = ("id", "event_id")
_TIMES = ("delivered_at", "next_attempt_at")


def update(
    channel: Channel, records: Sequence[Record], numbers: Sequence[int | None], turn: Turn
) -> Callable[[], int]:
    """Update the events that are still pending, and count them; return what returns how many."""
    values: dict[str, Any] = {
        "turn": turn.number,
        "token": turn.token,
        "id": [record.event.id for record in records],
        "event_id": [record.event.event_id for record in records],
        "attempts": [record.verdict.attempts for record in records],
        "delivered_at": [record.at for record in records],
        "last_status_code": [record.status_code for record in records],
        "delivery_number": list(numbers),
    }
    statement = _UPDATE_DELIVERED
    if any(record.verdict.status is not Status.DELIVERED for record in records):
        statement = _UPDATE_ANY
        values |= _more(records)
    sent = statement.send(channel, values)
    return lambda: int(sent.rows()[0][0])


def _more(records: Sequence[Record]) -> dict[str, Any]:
    """Return the columns that have other values if an event wasn't delivered."""
    verdicts = [record.verdict for record in records]
    errors = (record.error for record in records)
    return {
        "status": [verdict.status.value for verdict in verdicts],
        "delivered_at": [
            record.at if record.verdict.status is Status.DELIVERED else None for record in records
        ],
        "next_attempt_at": [record.next_attempt_at for record in records],
        "last_error": [error[:ERROR_CHARS] if error else None for error in errors],
        "maybe_received": [int(verdict.maybe_received) for verdict in verdicts],
    }


# -- statements -----------------------------------------------------------------------------------


def _update(columns: dict[str, str], also: str, delivered: str, dead: str) -> Statement:
    assignments = ", ".join(
        f"{name} = to_timestamp(r.{name})" if name in _TIMES else f"{name} = r.{name}"
        for name in columns
        if name not in _NAMES
    )
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    return Statement(
        POSTGRES,
        "WITH written AS ("
        f"UPDATE shipper_outbox AS o SET {assignments}, {also}{and_counted('o')}"
        f" FROM unnest({arrays}) AS r ({', '.join(columns)})"
        " WHERE o.id = r.id AND o.status = 'pending' AND o.event_id = r.event_id"
        " RETURNING o.destination, o.status"
        "), counted AS ("
        # `turns` adds these counts up later.
        "INSERT INTO shipper_count (token, turn, name, delivered, dead) SELECT :token, :turn,"
        f" destination, {delivered}, {dead} FROM written WHERE status <> 'pending'"
        " GROUP BY destination"
        ") SELECT count(*) FROM written",
    )


_UPDATE_DELIVERED = _update(
    _DELIVERED,
    f"status = '{Status.DELIVERED.value}', next_attempt_at = NULL, last_error = NULL,"
    " maybe_received = 0, ",
    "count(*)",
    "0",
)
_UPDATE_ANY = _update(
    _ANY,
    "",
    f"count(*) FILTER (WHERE status = '{Status.DELIVERED.value}')",
    f"count(*) FILTER (WHERE status = '{Status.DEAD.value}')",
)

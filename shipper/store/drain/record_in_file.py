"""Records in a SQLite file what became of events: their rows, and the counters.

It decides which statements those are. An outcome must never be recorded for another event than the
one that was sent.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from shipper.policy.delivery import Status
from shipper.store.db.dialect import SQLITE
from shipper.store.db.statement import Channel, Statement
from shipper.store.drain.messages import Record
from shipper.store.drain.tries import ERROR_CHARS, and_counted
from shipper.store.lease.turns import Turn

_WRITTEN = ("status", "attempts", "next_attempt_at", "delivered_at", "last_status_code",
            "last_error", "maybe_received", "delivery_number")  # fmt: skip


def update(
    channel: Channel, records: Sequence[Record], numbers: Sequence[int | None], _: Turn
) -> Callable[[], int]:
    """Update the events that are still pending; return what returns how many."""
    # Nearly all were delivered. One statement for all of them costs less than one per event. In the
    # database's thread it also passes the interpreter to the loop's thread and back only once.
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
            others.append(_row(record, number))
    changes = _UPDATE_ONE.each(channel.tx, others) if others else 0
    if delivered:
        changes += _UPDATE_DELIVERED.changes(channel.tx, {"rows": orjson.dumps(delivered).decode()})
    return lambda: changes


def count(channel: Channel, ended: Iterable[Record]) -> None:
    """Add these events, which aren't pending any more, to the counters of their destinations."""
    by_status = Counter((record.event.destination, record.verdict.status) for record in ended)
    for name in sorted({destination for destination, _ in by_status}):
        values = {
            "name": name,
            "delivered": by_status[name, Status.DELIVERED],
            "dead": by_status[name, Status.DEAD],
        }
        _COUNT.send(channel, values)


def _row(record: Record, number: int | None) -> dict[str, Any]:
    verdict = record.verdict
    delivered = verdict.status is Status.DELIVERED
    return {
        "id": record.event.id,
        "event_id": SQLITE.bind_key(record.event.event_id),
        "status": verdict.status.value,
        "attempts": verdict.attempts,
        "next_attempt_at": SQLITE.bind_time(record.next_attempt_at),
        "delivered_at": SQLITE.bind_time(record.at) if delivered else None,
        "last_status_code": record.status_code,
        "last_error": record.error[:ERROR_CHARS] if record.error else None,
        "maybe_received": int(verdict.maybe_received),
        "delivery_number": number,
    }


# -- statements -----------------------------------------------------------------------------------


def _update_one() -> Statement:
    assignments = ", ".join(f"{name} = :{name}" for name in _WRITTEN)
    return Statement(
        SQLITE,
        f"UPDATE shipper_outbox SET {assignments}, {and_counted('shipper_outbox')}"
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
        f" {and_counted('shipper_outbox')}"
        " FROM json_each(:rows) AS r"
        f" WHERE shipper_outbox.id = {row} AND shipper_outbox.status = 'pending'"
        f" AND event_id = coalesce({name}, event_id)",
    )


_UPDATE_ONE = _update_one()
_UPDATE_DELIVERED = _update_delivered()
_COUNT = Statement(
    SQLITE,
    "INSERT INTO shipper_destination (name, delivered, dead) VALUES (:name, :delivered, :dead)"
    " ON CONFLICT (name) DO UPDATE SET"
    " delivered = shipper_destination.delivered + excluded.delivered,"
    " dead = shipper_destination.dead + excluded.dead",
)

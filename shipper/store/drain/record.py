"""Records what became of events: their rows, their history, the counters, the links.

All of it is written in the transaction of the turn, so that the counters always equal a recount.
`delivery_number` is the order in which events ended; clocks can't show that order.

An id alone doesn't identify an event: the table may have been emptied and its ids begun again. The
outcome of an old event must never be recorded for a new one with the same id.

`record_in_file` and `record_on_server` update the rows and the counters; the rest is the same.
"""

from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection

from shipper.policy.delivery import Status
from shipper.store.db.dialect import DIALECTS, Dialect, pick
from shipper.store.db.postgres.fence import IS_NEW
from shipper.store.db.statement import Channel, Statement
from shipper.store.drain import record_in_file, record_on_server
from shipper.store.drain.messages import LinkRow, Record
from shipper.store.drain.tries import ERROR_CHARS
from shipper.store.lease.turns import Turn

ATTEMPTS_KEPT = 50


def is_end(record: Record) -> bool:
    """Return whether the event isn't pending any more after this record."""
    return record.verdict.status is not Status.PENDING


def write(
    channel: Channel,
    dialect: Dialect,
    records: Sequence[Record],
    ends: Sequence[int],
    turn: Turn,
) -> Callable[[], None]:
    """Record what became of events; `ends` are the delivery numbers of those that ended.

    It returns what writes the rest. Call that once the answers so far are there; see `exchanging`.
    """
    if not records:
        return _nothing
    left = iter(ends)
    numbers = [next(left) if is_end(record) else None for record in records]
    update = pick(dialect, sqlite=record_in_file.update, postgresql=record_on_server.update)
    changed = update(channel, records, numbers, turn)

    def write_rest() -> None:
        written = records
        if changed() != len(records):
            written = _written(channel, dialect, records, numbers)
        if dialect.fence.take_counts is None:
            record_in_file.count(channel, filter(is_end, written))
        _remember(channel, dialect, [record for record in written if record.history is not None])
        for record in written:
            if record.holds_key:
                _hold(channel, dialect, record)

    return write_rest


def _nothing() -> None:
    """Write nothing more."""


def write_link(channel: Channel, dialect: Dialect, link: LinkRow, now: float, token: int) -> None:
    """Store a destination's state for `status`, as the daemon with this token sees it."""
    values = {
        "token": token,
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
    _WRITE_LINK[dialect.name].send(channel, values)


def _written(
    channel: Channel, dialect: Dialect, records: Sequence[Record], numbers: Sequence[int | None]
) -> list[Record]:
    """Return the records that were written; the other events weren't there, or not pending."""
    ids = dialect.bind_ids([record.event.id for record in records])
    sent = _NUMBERS[dialect.name].send(channel, {"ids": ids})
    channel.wait()
    now = set(sent.rows())
    return [
        record
        for record, number in zip(records, numbers, strict=True)
        if (record.event.id, record.verdict.status.value, number) in now
    ]


def _remember(channel: Channel, dialect: Dialect, records: Sequence[Record]) -> None:
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
    _ADD_ATTEMPT[dialect.name].send_each(channel, rows)
    _TRIM_ATTEMPTS[dialect.name].send_each(channel, _trimmed(record.event.id for record in records))


def trim_history(tx: Connection, dialect: Dialect, ids: Iterable[int]) -> None:
    """Keep the last `ATTEMPTS_KEPT` rows of these events' histories; delete the older ones."""
    _TRIM_ATTEMPTS[dialect.name].each(tx, _trimmed(ids))


def _trimmed(ids: Iterable[int]) -> list[dict[str, int]]:
    return [{"outbox_id": row} for row in ids]


def _hold(channel: Channel, dialect: Dialect, record: Record) -> None:
    event = record.event
    if event.ordering_key is not None:
        values = {
            "destination": event.destination,
            "key": dialect.bind_key(event.ordering_key),
            "event_id": dialect.bind_key(event.event_id),
            "now": dialect.bind_time(record.at),
        }
        _HOLD[dialect.name].send(channel, values)


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
_LINK = "state, reason, since, next_try_at, updated_at, failures, last_error, failing_since"


def _write_link(dialect: Dialect) -> str:
    time = dialect.time.format
    values = (
        f":state, :reason, {time('since')}, {time('next_try_at')}, {time('now')}, :failures,"
        f" :last_error, {time('failing_since')}"
    )
    changes = (
        "state = excluded.state, reason = excluded.reason, {since}, next_try_at ="
        " excluded.next_try_at, updated_at = excluded.updated_at, failures = excluded.failures,"
        " last_error = excluded.last_error, failing_since = excluded.failing_since"
    )
    if dialect.moves_shards:
        # The counters of a destination have their row from its first link on.
        return (
            "WITH named AS (SELECT CAST(:name AS text) AS name),"
            " known AS (INSERT INTO shipper_destination (name)"
            f" SELECT name FROM named WHERE {IS_NEW} ON CONFLICT DO NOTHING)"
            f" INSERT INTO shipper_link (token, name, {_LINK}) VALUES (:token, :name, {values})"
            " ON CONFLICT (token, name) DO UPDATE SET"
            f" {changes.format(since='since = excluded.since')}"
        )
    # For a held destination, `since` is when it was held.
    since = (
        "since = CASE shipper_destination.held WHEN 1 THEN shipper_destination.since"
        " ELSE excluded.since END"
    )
    return (
        f"INSERT INTO shipper_destination (name, {_LINK}) VALUES (:name, {values})"
        f" ON CONFLICT (name) DO UPDATE SET {changes.format(since=since)}"
    )


_WRITE_LINK = _for_each(_write_link)

"""Deletes events that have ended: delivered and discarded ones, and dead letters if configured.

For the daemon and for `prune`. It decides which events' time is over, and how many are deleted at a
time. It must never delete a pending event, nor a dead letter that holds its key: an operator still
has to decide about that one.

Each batch is one short transaction: events, their history, and the counters, so that the counters
always equal a recount. Like every writer it locks the row of the lease first (see `operate`), so it
can't meet an operator's retry of the same event. It needs no other fence: no daemon changes an
event that has ended. One that was itself ended deletes by its own configuration until it notices.
All rows are found by an index of their status. A batch takes as many rows as fit into its time, so
that the drain doesn't have to wait.

The time of a delivered event runs from its delivery. A row doesn't have the time of its death: the
time of a dead letter or a discarded event runs from its last try. These stamps are of the machine
that shipped the event.

In a file, that is this machine. A row that was written while the clock was far ahead would stay
until that time. So the caller can give a time that no clock has shown lately: rows that are stamped
beyond it are deleted, too.

On a server, any daemon can have shipped the event, and each machine's clock can be wrong by any
amount. So a stamp alone deletes nothing there: by the server's clock, too, the event must have been
written before the cutoff, and a stamp of the future is no reason. The caller must not give a cutoff
that is too late by the server's clock, see `times`. What remains: an event that waited for longer
than it is kept, and was shipped by a machine whose clock is behind.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.clock import LATEST
from shipper.store.db.batches import BATCH_SECONDS, paced
from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.db.transactions import writing
from shipper.store.lease.turns import fold_all

_FIRST_BATCH, _LEAST, _MOST = 50, 10, 2000


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Events that ended before these times are deleted (seconds since 1970); None keeps all.

    On a server they must have been written before these times as well.
    """

    delivered: float | None
    """For delivered and for discarded events."""
    dead: float | None
    delivered_beyond: float = LATEST
    """In a file, events that are stamped later are deleted as well: no clock has shown such a time
    lately."""
    dead_beyond: float = LATEST

    @classmethod
    def at(cls, now: float, *, delivered: float | None, dead: float | None) -> "Cutoffs":
        """Return the cutoffs for retentions in seconds; None for events that are kept for ever."""
        return cls(
            None if delivered is None else now - delivered, None if dead is None else now - dead
        )


@dataclass(frozen=True, slots=True)
class EndedGroup:
    """Events of one destination that have ended in the same way."""

    destination: str
    status: str


def due(engine: Engine, cutoffs: Cutoffs) -> dict[EndedGroup, int]:
    """Return how many events `prune` would delete. Reads all of these events.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    found: dict[EndedGroup, int] = {}
    with snapshot(engine) as tx:
        dialect.as_long_as_it_takes(tx)
        for status, span in _wanted(cutoffs):
            for row in tx.execute(_count(dialect, status), span.values(dialect)):
                found[EndedGroup(shown(row.destination), status)] = row.events
    return found


def prune(
    engine: Engine, cutoffs: Cutoffs, monotonic: Callable[[], float]
) -> Iterator[Counter[EndedGroup]]:
    """Delete the events whose time is over; yield the counts of each batch after its commit.

    No transaction stays open between two steps, so the caller can wait there as long as it likes.
    Raises StoreUnavailable, AccessDenied and SchemaError; what was yielded is deleted.
    """
    dialect = dialect_of(engine)
    size = BatchSize()
    for status, span in _wanted(cutoffs):
        for place in _places(engine, dialect, status):
            for page in _pages(dialect, status):
                walk = _Walk(engine, dialect, status, page, span, place)
                yield from _batches(walk, size, monotonic)


class BatchSize:
    """How many rows the next batch takes, so that it holds the write lock only briefly."""

    def __init__(self) -> None:
        self.rows = _FIRST_BATCH

    def took(self, seconds: float) -> None:
        """Adjust the size to how long a full batch took."""
        self.rows = paced(self.rows, seconds, BATCH_SECONDS, (_LEAST, _MOST))


class _Span(NamedTuple):
    """The times that are over: before `before`, or, in a file, after `beyond`.

    A stamp that was written by hand and is no valid time is neither.
    """

    before: float
    beyond: float

    def values(self, dialect: Dialect) -> dict[str, Any]:
        times = {"before": self.before, "beyond": self.beyond, "end": LATEST}
        return {name: dialect.bind_time(time) for name, time in times.items()}


@dataclass(slots=True)
class _Walk:
    """A walk along an index, and how far it has come.

    `place` is the destination whose dead or discarded events are read. Delivered events are in the
    order of their times; `since` is the last one's. The walk never goes back before `since`: while
    a transaction holds a snapshot, PostgreSQL keeps the deleted rows there. `passed` rows that are
    stamped `since` were read and stay.
    """

    engine: Engine
    dialect: Dialect
    status: str
    page: TextClause
    span: _Span
    place: str | bytes
    after: int = 0
    since: str = ""
    passed: int = 0

    def step(self, limit: int) -> tuple[int, Counter[EndedGroup]]:
        """Read at most `limit` rows, delete those that are due; return how many were read."""
        since = self.since or self.dialect.before_all
        values = {"limit": limit, "place": self.place, "after": self.after, "since": since}
        values["passed"] = self.passed
        with writing(self.engine) as tx:
            self.dialect.lock_lease(tx)
            rows = tx.execute(self.page, self.span.values(self.dialect) | values).all()
            # Now: daemons go on writing, and what they counted of these rows has to be there.
            fold_all(tx)
            gone = [row for row in rows if row.is_due]
            _delete(tx, self.dialect, [row.id for row in gone])
            by_name = Counter(row.destination for row in gone)
            for name in sorted(by_name):
                tx.execute(_PURGE[self.status], {"name": name, "events": by_name[name]})
        if rows:
            self._go_on(rows)
        return len(rows), Counter(
            {EndedGroup(shown(n), self.status): c for n, c in by_name.items()}
        )

    def _go_on(self, rows: Sequence[Row[Any]]) -> None:
        """Begin the next step behind these rows."""
        last = rows[-1].stamp
        stay = sum(row.stamp == last and not row.is_due for row in rows)
        self.passed = stay + (self.passed if last == self.since else 0)
        self.after, self.since = rows[-1].id, last


def _batches(
    walk: _Walk, size: BatchSize, monotonic: Callable[[], float]
) -> Iterator[Counter[EndedGroup]]:
    seen = limit = 1
    while seen == limit:
        limit, began = size.rows, monotonic()
        seen, gone = walk.step(limit)
        if seen == limit:
            size.took(monotonic() - began)
        if seen:
            yield gone


def _wanted(cutoffs: Cutoffs) -> Iterator[tuple[str, _Span]]:
    if cutoffs.delivered is not None:
        span = _Span(cutoffs.delivered, cutoffs.delivered_beyond)
        yield "delivered", span
        yield "discarded", span
    if cutoffs.dead is not None:
        yield "dead", _Span(cutoffs.dead, cutoffs.dead_beyond)


def _places(engine: Engine, dialect: Dialect, status: str) -> list[str | bytes]:
    """Return the destinations that have to be walked through one by one."""
    if status == "delivered":
        return [""]
    with snapshot(engine) as tx:
        name = written(dialect, "name")
        return list(tx.execute(text(f"SELECT {name} FROM shipper_destination")).scalars())


def _delete(tx: Connection, dialect: Dialect, ids: list[int]) -> None:
    if ids:
        values = {"ids": dialect.bind_ids(ids)}
        tx.execute(text(f"DELETE FROM shipper_attempt WHERE outbox_id IN {dialect.ids}"), values)
        by_id = f"shipper_outbox{dialect.by_id}"
        tx.execute(text(f"DELETE FROM {by_id} WHERE id IN {dialect.ids}"), values)


# -- statements ---------------------------------------------------------------------------------


def _pages(dialect: Dialect, status: str) -> list[TextClause]:
    """Return the queries for the next rows along the index, and whether each row is due."""
    columns = f"SELECT id, {written(dialect, 'destination')} AS destination"
    begun = f" AND delivered_at >= {dialect.stamp.format(':since')}"
    table = f"shipper_outbox{dialect.along.format(status)}"
    if status == "delivered":
        return [
            text(
                f"{columns}, {_is_written_before(dialect)} AS is_due,"
                f" CAST(delivered_at AS text) AS stamp FROM {table}"
                f" WHERE status = 'delivered' AND {is_over}{begun}"
                " ORDER BY delivered_at LIMIT :limit OFFSET :passed"
            )
            for is_over in _stamped(dialect, "delivered_at")
        ]
    over = f"{columns}, {_is_over(dialect, status)} AS is_due, NULL AS stamp FROM {table}"
    return [
        text(
            f"{over} WHERE status = '{status}' AND destination = CAST(:place AS text)"
            " AND id > :after ORDER BY id LIMIT :limit"
        )
    ]


def _count(dialect: Dialect, status: str) -> TextClause:
    is_over = _is_over(dialect, status)
    where = f"status = '{status}' AND {is_over}"
    return text(
        f"SELECT {written(dialect, 'destination')} AS destination, count(*) AS events"
        f" FROM shipper_outbox{dialect.along.format(status)} WHERE {where} GROUP BY destination"
    )


def _stamped(dialect: Dialect, stamp: str) -> list[str]:
    """Return the conditions of which one must be true for a stamp whose time is over."""
    before, beyond, end = map(dialect.time.format, ("before", "beyond", "end"))
    if not dialect.is_file:
        return [f"{stamp} < {before}"]
    return [f"{stamp} < {before}", f"({stamp} > {beyond} AND {stamp} <= {end})"]


def _is_written_before(dialect: Dialect) -> str:
    """Return what must be true besides: in a file nothing, because all stamps are of one clock."""
    return dialect.true if dialect.is_file else f"created_at < {dialect.time.format('before')}"


def _is_over(dialect: Dialect, status: str) -> str:
    last_try = "SELECT max(started_at) FROM shipper_attempt WHERE outbox_id = shipper_outbox.id"
    stamp = "delivered_at" if status == "delivered" else f"coalesce(({last_try}), created_at)"
    over = f"(({' OR '.join(_stamped(dialect, stamp))}) AND {_is_written_before(dialect)})"
    if status != "dead":
        return over
    return (
        f"({over} AND NOT EXISTS (SELECT 1 FROM shipper_hold AS h"
        f" WHERE {dialect.its_hold.format(hold='h', row='shipper_outbox')}"
        " AND h.cause = 'dead_letter' AND h.event_id = shipper_outbox.event_id))"
    )


def _purge(status: str) -> TextClause:
    # A counter that was set too low by hand (SQL) must not prevent the deletion for ever.
    return text(
        f"UPDATE shipper_destination SET purged = purged + :events, {status} ="
        f" CASE WHEN {status} < :events THEN 0 ELSE {status} - :events END"
        " WHERE name = CAST(:name AS text)"
    )


_PURGE = {status: _purge(status) for status in ("delivered", "discarded", "dead")}

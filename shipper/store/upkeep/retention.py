"""Deleting what is over: delivered and discarded events, and dead letters where that is wanted.

It decides which rows have had their time, and how much of that is done at a time. It must never
delete a pending event, nor a dead letter that holds its key: somebody still has to look at that.

Each batch is a short transaction: events, their history, and the counters together, so that the
books balance at every moment. First comes the row of the lease, as with all who write (see
`operate`), so a retry by an operator and a deletion can't meet. Beyond that no fence is needed:
a daemon doesn't touch what has ended. Everything is found along an index of its own; nothing
pending is met. A batch takes as many rows as fit into its time, so the drain isn't held up.

Delivered events count from their delivery. When a dead letter died isn't in its row: it and a
discarded event count from their last try. A row that was stamped by a clock which ran ahead, and
was set right long ago, would stay until the clock is there again; who knows that clocks of late
have said nothing of the kind gives a time beyond which all is over.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, TextClause, text

from shipper.store.db.batches import BATCH_SECONDS, paced
from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.db.transactions import writing
from shipper.store.lease.turns import fold_all

_FIRST_BATCH, _LEAST, _MOST = 50, 10, 2000
# The last second that can be written down.
END = 253402300799.0


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What goes: all that was over before these times, in seconds since 1970; None keeps it."""

    delivered: float | None
    """For delivered and for discarded events."""
    dead: float | None
    delivered_beyond: float = END
    """What is stamped later goes as well, because no clock has said that time for long enough."""
    dead_beyond: float = END

    @classmethod
    def at(cls, now: float, *, delivered: float | None, dead: float | None) -> "Cutoffs":
        """Return them for retentions in seconds, None for what is kept for ever."""
        return cls(
            None if delivered is None else now - delivered, None if dead is None else now - dead
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """What a sum of deleted events is about."""

    destination: str
    status: str


def newest(engine: Engine) -> float | None:
    """Return the newest time in the outbox, None for one without events: it is no less than that.

    When the last event was written, or when one was delivered last. Seconds since 1970. Raises
    StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        found = [dialect.wall(tx.execute(query).scalar()) for query in _newest(dialect)]
    return max((moment for moment in found if moment is not None), default=None)


def due(engine: Engine, cutoffs: Cutoffs) -> dict[Kind, int]:
    """Return how many events `prune` would delete. Reads them all, and nothing else.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    found: dict[Kind, int] = {}
    with snapshot(engine) as tx:
        dialect.as_long_as_it_takes(tx)
        for status, span in _wanted(cutoffs):
            for row in tx.execute(_count(dialect, status), span.values(dialect)):
                found[Kind(shown(row.destination), status)] = row.events
    return found


def prune(
    engine: Engine, cutoffs: Cutoffs, monotonic: Callable[[], float]
) -> Iterator[Counter[Kind]]:
    """Delete what is over; yield after each batch what it was. Each step is a transaction.

    Between two steps nothing is open, and whoever steps may rest for as long as it likes. Raises
    StoreUnavailable, AccessDenied and SchemaError; what was yielded is done.
    """
    dialect = dialect_of(engine)
    pace = Pace()
    for status, span in _wanted(cutoffs):
        for place in _places(engine, dialect, status):
            for page in _pages(dialect, status):
                walk = _Walk(engine, dialect, status, page, span, place)
                yield from _batches(walk, pace, monotonic)


class Pace:
    """How many rows the next batch takes, so that it lasts no longer than it should."""

    def __init__(self) -> None:
        self.rows = _FIRST_BATCH

    def took(self, seconds: float) -> None:
        """Learn from how long a full batch took."""
        self.rows = paced(self.rows, seconds, BATCH_SECONDS, (_LEAST, _MOST))


class _Span(NamedTuple):
    """What is over: what is stamped before the one time or beyond the other.

    What somebody wrote by hand and is no time of ours is neither.
    """

    before: float
    beyond: float

    def values(self, dialect: Dialect) -> dict[str, Any]:
        times = {"before": self.before, "beyond": self.beyond, "end": END}
        return {name: dialect.bind_time(time) for name, time in times.items()}


@dataclass(slots=True)
class _Walk:
    """One way along an index, and how far it has come.

    `place` is the destination whose dead or discarded events are looked through; delivered ones
    lie in the order of their times, `since` is that of the last. Nothing before it is looked at
    again: while somebody holds a snapshot, PostgreSQL keeps what was deleted.
    """

    engine: Engine
    dialect: Dialect
    status: str
    page: TextClause
    span: _Span
    place: str | bytes
    after: int = 0
    since: str = ""

    def step(self, limit: int) -> tuple[int, Counter[Kind]]:
        """Look at `limit` rows at most and delete what is due; return how many were seen."""
        since = self.since or self.dialect.before_all
        values = {"limit": limit, "place": self.place, "after": self.after, "since": since}
        with writing(self.engine) as tx:
            self.dialect.lock_lease(tx)
            fold_all(tx)
            rows = tx.execute(self.page, self.span.values(self.dialect) | values).all()
            gone = [row for row in rows if row.is_due]
            _delete(tx, self.dialect, [row.id for row in gone])
            by_name = Counter(row.destination for row in gone)
            for name in sorted(by_name):
                tx.execute(_PURGE[self.status], {"name": name, "events": by_name[name]})
        if rows:
            self.after, self.since = rows[-1].id, rows[-1].stamp
        return len(rows), Counter({Kind(shown(n), self.status): c for n, c in by_name.items()})


def _batches(walk: _Walk, pace: Pace, monotonic: Callable[[], float]) -> Iterator[Counter[Kind]]:
    seen = limit = 1
    while seen == limit:
        limit, began = pace.rows, monotonic()
        seen, gone = walk.step(limit)
        if seen == limit:
            pace.took(monotonic() - began)
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
    """Return the destinations whose index entries are to be looked through one by one."""
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


def _newest(dialect: Dialect) -> Iterator[TextClause]:
    outbox = "FROM shipper_outbox"
    written_at, delivered_at = map(dialect.moment.format, ("created_at", "delivered_at"))
    yield text(f"SELECT {written_at} {outbox} ORDER BY id DESC LIMIT 1")
    yield text(
        f"SELECT {delivered_at} {outbox}{dialect.along.format('delivered')}"
        " WHERE status = 'delivered' AND delivered_at IS NOT NULL"
        " ORDER BY delivered_at DESC LIMIT 1"
    )


def _pages(dialect: Dialect, status: str) -> list[TextClause]:
    """Return what finds the next rows along the index, with whether each is due."""
    columns = f"SELECT id, {written(dialect, 'destination')} AS destination"
    begun = f" AND delivered_at >= {dialect.stamp.format(':since')}"
    table = f"shipper_outbox{dialect.along.format(status)}"
    if status == "delivered":
        return [
            text(
                f"{columns}, {dialect.true} AS is_due, CAST(delivered_at AS text) AS stamp"
                f" FROM {table}"
                f" WHERE status = 'delivered' AND {is_over}{begun}"
                " ORDER BY delivered_at LIMIT :limit"
            )
            for is_over in _either(dialect, "delivered_at")
        ]
    over = f"{columns}, {_is_over(dialect, status)} AS is_due, NULL AS stamp FROM {table}"
    return [
        text(
            f"{over} WHERE status = '{status}' AND destination = CAST(:place AS text)"
            " AND id > :after ORDER BY id LIMIT :limit"
        )
    ]


def _count(dialect: Dialect, status: str) -> TextClause:
    is_over = f"({' OR '.join(_either(dialect, 'delivered_at'))})"
    if status != "delivered":
        is_over = _is_over(dialect, status)
    where = f"status = '{status}' AND {is_over}"
    return text(
        f"SELECT {written(dialect, 'destination')} AS destination, count(*) AS events"
        f" FROM shipper_outbox{dialect.along.format(status)} WHERE {where} GROUP BY destination"
    )


def _either(dialect: Dialect, stamp: str) -> tuple[str, str]:
    before, beyond, end = map(dialect.time.format, ("before", "beyond", "end"))
    return f"{stamp} < {before}", f"({stamp} > {beyond} AND {stamp} <= {end})"


def _is_over(dialect: Dialect, status: str) -> str:
    last_try = "SELECT max(started_at) FROM shipper_attempt WHERE outbox_id = shipper_outbox.id"
    over = f"({' OR '.join(_either(dialect, f'coalesce(({last_try}), created_at)'))})"
    if status != "dead":
        return over
    return (
        f"({over} AND NOT EXISTS (SELECT 1 FROM shipper_hold AS h"
        f" WHERE {dialect.its_hold.format(hold='h', row='shipper_outbox')}"
        " AND h.cause = 'dead_letter' AND h.event_id = shipper_outbox.event_id))"
    )


def _purge(status: str) -> TextClause:
    # A counter that somebody has set too low must not keep everything here for ever.
    return text(
        f"UPDATE shipper_destination SET purged = purged + :events, {status} ="
        f" CASE WHEN {status} < :events THEN 0 ELSE {status} - :events END"
        " WHERE name = CAST(:name AS text)"
    )


_PURGE = {status: _purge(status) for status in ("delivered", "discarded", "dead")}

"""The statistics: what became of each destination's events, minute by minute.

They are for people and decide nothing. A minute without any event has no row, and nothing is
written in it. Rows of more than eight days ago go when a new one comes, and so do those that a
wrong clock wrote far ahead; it must never delete those of a clock that held within these days. The
table is never larger than what the days and the configuration make of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.db.transactions import writing

KEPT = 8 * 86400.0
"""For how many seconds a minute is kept."""
FORGOTTEN_AT_ONCE = 1000
_AHEAD = 86400.0
_END = 253402300799.0  # of the year 9999, beyond which no time can be written


@dataclass(frozen=True, slots=True)
class Minute:
    """What became of a destination's tries in the minute that began at `minute`.

    `minute` is in seconds since 1970. Latencies are in seconds, from when an event was written to
    when its delivery was answered: their sum over `delivered`, and the longest.
    """

    minute: float
    destination: str
    delivered: int
    retried: int
    dead: int
    latency_sum: float
    latency_max: float


def add(
    engine: Engine, minutes: Sequence[Minute], now: float, at_most: float | None = None
) -> None:
    """Write minutes; one that is there already grows. What is too old or too far ahead goes.

    It is `now`, in seconds since 1970, or `at_most` so late, where nobody knows for certain.
    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    last = min((now if at_most is None else at_most) + _AHEAD, _END)
    kept = {"first": dialect.bind_time(now - KEPT), "last": dialect.bind_time(last)}
    with writing(engine) as tx:
        for minute in minutes:
            tx.execute(_add(dialect), _values(dialect, minute))
        tx.execute(_forget(dialect), kept)


def since(engine: Engine, wall: float) -> list[Minute]:
    """Return the minutes that began then or later, in their order.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        return [
            Minute(
                minute=dialect.wall(row.began) or 0.0,
                destination=shown(row.destination),
                delivered=row.delivered,
                retried=row.retried,
                dead=row.dead,
                latency_sum=row.latency_sum,
                latency_max=row.latency_max,
            )
            for row in tx.execute(_since(dialect), {"first": dialect.bind_time(wall)})
        ]


def _values(dialect: Dialect, minute: Minute) -> dict[str, Any]:
    return {
        "minute": dialect.bind_time(minute.minute),
        "destination": minute.destination,
        "delivered": minute.delivered,
        "retried": minute.retried,
        "dead": minute.dead,
        "latency_sum": minute.latency_sum,
        "latency_max": minute.latency_max,
    }


def _add(dialect: Dialect) -> TextClause:
    counts = ("delivered", "retried", "dead", "latency_sum")
    grown = ", ".join(f"{name} = shipper_minute.{name} + excluded.{name}" for name in counts)
    return text(
        "INSERT INTO shipper_minute"
        " (minute, destination, delivered, retried, dead, latency_sum, latency_max)"
        f" VALUES ({dialect.time.format('minute')}, CAST(:destination AS text),"
        " :delivered, :retried, :dead, :latency_sum, :latency_max)"
        f" ON CONFLICT (minute, destination) DO UPDATE SET {grown}, latency_max ="
        " CASE WHEN excluded.latency_max > shipper_minute.latency_max"
        " THEN excluded.latency_max ELSE shipper_minute.latency_max END"
    )


def _forget(dialect: Dialect) -> TextClause:
    first, last = dialect.time.format("first"), dialect.time.format("last")
    # A daemon that was away for days finds them all old at once; the next minute takes the rest.
    return text(
        "DELETE FROM shipper_minute WHERE (minute, destination) IN (SELECT minute, destination"
        f" FROM shipper_minute WHERE minute < {first} OR minute > {last} LIMIT {FORGOTTEN_AT_ONCE})"
    )


def _since(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT {dialect.moment.format('minute')} AS began,"
        f" {written(dialect, 'destination')} AS destination, delivered, retried, dead,"
        " latency_sum, latency_max FROM shipper_minute"
        f" WHERE minute >= {dialect.time.format('first')} ORDER BY minute, destination"
    )

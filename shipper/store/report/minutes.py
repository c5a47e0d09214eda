"""The statistics: what became of each destination's events, minute by minute.

The daemon writes them, `top` and `status` show them; they decide nothing. Each of several daemons
writes what it has counted itself, and adds it to the row: no other one knows how long its tries
took. So this is no chore of the daemon that leads. A minute without events has no row.

A new minute deletes rows from more than eight days ago, and rows that a wrong clock wrote far
ahead. It must never delete minutes of these eight days that a correct clock wrote. So the table's
size is bounded by eight days and the number of destinations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, TextClause, text

from shipper.clock import LATEST
from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.db.transactions import writing

KEPT = 8 * 86400.0
"""For how many seconds a minute's row is kept."""
FORGOTTEN_AT_ONCE = 1000
_AHEAD = 86400.0


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
    """Write minutes, and add to those that are there; delete rows too old or too far ahead.

    `now` is in seconds since 1970; if the clock isn't certain, `at_most` is the latest that it can
    be. Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    last = min((now if at_most is None else at_most) + _AHEAD, LATEST)
    kept = {"first": dialect.bind_time(now - KEPT), "last": dialect.bind_time(last)}
    with writing(engine) as tx:
        # In one order: daemons that write the same minutes don't wait for each other in a circle.
        for minute in sorted(minutes, key=lambda one: (one.minute, one.destination)):
            tx.execute(_add(dialect), _values(dialect, minute))
        tx.execute(_forget(dialect), kept)


def since(engine: Engine, wall: float) -> list[Minute]:
    """Return the minutes that began at `wall` or later, in their order.

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
    # After days without a daemon many rows are too old at once; the next minute deletes the rest.
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

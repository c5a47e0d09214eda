"""Sending events to another destination: pending ones and dead letters.

It decides what a rerouted event starts with: a new life, because the new destination has received
nothing of it. No event is ever sent to two destinations: the daemon is asked for what it has
claimed first (see `recall`). The events of a key are rerouted in the order of id.

It must never change an event that was delivered or discarded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import asked, shown, snapshot, written
from shipper.store.drain.record import trim_history
from shipper.store.drain.tries import TRIED_BEFORE
from shipper.store.operate.bookkeeping import (
    count_changed,
    release_dead,
    strike_from_claims,
    touch,
)
from shipper.store.operate.preview import samples_of
from shipper.store.operate.recall import Recall, Step

OUTCOME = "rerouted"
"""The outcome that the history shows for a reroute."""


@dataclass(frozen=True, slots=True)
class Movable:
    """What would be rerouted: how many events by destination, how many dead letters, some ids.

    `received` counts those that the old destination may have received already.
    """

    places: tuple[tuple[str, int], ...]
    dead: int
    received: int
    samples: tuple[int, ...]

    @property
    def count(self) -> int:
        """Return how many events would be rerouted."""
        return sum(count for _, count in self.places)


def movable(engine: Engine, selection: Selection, to: str) -> Movable:
    """Return what `reroute` would change; raises StoreUnavailable, AccessDenied, SchemaError."""
    dialect = dialect_of(engine)
    condition, values = _fitting(dialect, selection, to)
    name = written(dialect, "destination")
    counted = text(
        f"SELECT {name} AS place, count(*) AS events,"
        " count(CASE WHEN status = 'dead' THEN 1 END) AS dead, sum(maybe_received) AS received"
        f" FROM shipper_outbox WHERE {condition} GROUP BY destination ORDER BY destination"
    )
    with snapshot(engine) as tx:
        rows = tx.execute(counted, values).all()
        samples = samples_of(tx, condition, values)
    return Movable(
        places=tuple((shown(row.place), row.events) for row in rows),
        dead=sum(row.dead for row in rows),
        received=sum(int(row.received) for row in rows),
        samples=samples,
    )


def reroute(engine: Engine, selection: Selection, to: str, now: float) -> Iterator[Step]:
    """Send the events that fit to another destination, as if they were written for it.

    `now` is in seconds since 1970; the steps are those of a `Recall`.
    """
    dialect = dialect_of(engine)
    condition, values = _fitting(dialect, selection, to)
    change = _Move(dialect, to, now)
    return Recall(dialect, condition, values, change, by_key=True).steps(engine)


class _Move:
    """The change that is made to rerouted events."""

    def __init__(self, dialect: Dialect, to: str, now: float) -> None:
        self._dialect = dialect
        self._to = to
        self._now = now

    def __call__(self, tx: Connection, rows: Sequence[Row[Any]]) -> None:
        dialect, ids = self._dialect, [row.id for row in rows]
        of_all = {"ids": dialect.bind_ids(ids)}
        for place in sorted({row.destination for row in rows}):
            theirs = [row.id for row in rows if row.destination == place]
            values = {
                "ids": dialect.bind_ids(theirs),
                "error": f"from {shown(place)} to {self._to}",
                "now": dialect.bind_time(self._now),
            }
            tx.execute(_remember(dialect), values)
        trim_history(tx, dialect, ids)
        touch(tx, dialect, ids)  # the lanes at the old destination go on
        tx.execute(release_dead(dialect), of_all)
        tx.execute(_redirect(dialect), of_all | {"to": asked(dialect, self._to)})
        touch(tx, dialect, ids)
        count_changed(tx, dialect, rows, self._now, discarded=False)
        strike_from_claims(tx, set(ids))


# -- statements ---------------------------------------------------------------------------------


def _fitting(dialect: Dialect, selection: Selection, to: str) -> tuple[str, dict[str, Any]]:
    condition, values = selection.where(dialect)
    ours = "status IN ('pending', 'dead') AND destination <> CAST(:to AS text)"
    return f"{ours} AND {condition}", values | {"to": asked(dialect, to)}


def _remember(dialect: Dialect) -> TextClause:
    return text(
        "INSERT INTO shipper_attempt (outbox_id, event_id, started_at, duration_ms, outcome, error,"
        f" manual) SELECT id, event_id, {dialect.time.format('now')}, 0, '{OUTCOME}',"
        f" CAST(:error AS text), 1 FROM shipper_outbox{dialect.by_id} WHERE id IN {dialect.ids}"
    )


def _redirect(dialect: Dialect) -> TextClause:
    return text(
        "UPDATE shipper_outbox SET destination = CAST(:to AS text), reroutes = reroutes + 1,"
        " status = 'pending', attempts = 0, next_attempt_at = NULL, last_status_code = NULL,"
        # The new destination has received nothing, so no event has to be repeated first.
        " last_error = NULL, maybe_received = 0, manual = 1, delivery_number = NULL,"
        # Without a last error, no record would add the tries from before the counting began.
        f" tries = CASE WHEN tries > 0 THEN tries ELSE {_BEFORE} END"
        f"{dialect.relane}"
        f" WHERE id IN {dialect.ids} AND status IN ('pending', 'dead')"
    )


_BEFORE = TRIED_BEFORE.format(row="shipper_outbox")

"""Sending events elsewhere: what waits, or died, at one destination goes to another.

It decides that no event is ever with two destinations: what a daemon has claimed is recalled first
(`recalling`). Nor does an event go before one of its key that fits too, and is still claimed: a key
arrives in the order of id.

It must never touch an event that was delivered or given up.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import asked, shown, snapshot, written
from shipper.store.drain.record import TRIED_BEFORE, trim_history
from shipper.store.operate.acts import lower_dead, release_dead, strike_from_claims, touch
from shipper.store.operate.recall import Recall, Step

SAMPLES = 3
OUTCOME = "rerouted"
"""What the history says of it, where it says of a try how that ended."""


@dataclass(frozen=True, slots=True)
class Movable:
    """What would be moved: how many by where they are, how many of them died, the smallest ids.

    `received` are those that the old destination may have received already.
    """

    places: tuple[tuple[str, int], ...]
    dead: int
    received: int
    samples: tuple[int, ...]

    @property
    def count(self) -> int:
        """Return how many they are."""
        return sum(count for _, count in self.places)


def movable(engine: Engine, selection: Selection, to: str) -> Movable:
    """Return what `reroute` would move; raises StoreUnavailable, AccessDenied, SchemaError."""
    dialect = dialect_of(engine)
    condition, values = _fitting(dialect, selection, to)
    name = written(dialect, "destination")
    counted = text(
        f"SELECT {name} AS place, count(*) AS events,"
        " count(CASE WHEN status = 'dead' THEN 1 END) AS dead, sum(maybe_received) AS received"
        f" FROM shipper_outbox WHERE {condition} GROUP BY destination ORDER BY destination"
    )
    smallest = f"SELECT id FROM shipper_outbox WHERE {condition} ORDER BY id LIMIT {SAMPLES}"
    with snapshot(engine) as tx:
        rows = tx.execute(counted, values).all()
        samples = tuple(tx.execute(text(smallest), values).scalars())
    return Movable(
        places=tuple((shown(row.place), row.events) for row in rows),
        dead=sum(row.dead for row in rows),
        received=sum(int(row.received) for row in rows),
        samples=samples,
    )


def reroute(engine: Engine, selection: Selection, to: str, now: float) -> Iterator[Step]:
    """Send what fits to another destination, as events that nobody has tried there yet.

    `now` is in seconds since 1970; the steps are those of a `Recall`.
    """
    dialect = dialect_of(engine)
    condition, values = _fitting(dialect, selection, to)
    change = _Move(dialect, to, now)
    return Recall(dialect, condition, values, change, by_key=True).steps(engine)


class _Move:
    """What is done with events that go elsewhere."""

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
        touch(tx, dialect, ids)  # what their keys have left there goes on
        tx.execute(release_dead(dialect), of_all)
        tx.execute(_redirect(dialect), of_all | {"to": asked(dialect, self._to)})
        touch(tx, dialect, ids)
        died = Counter(row.destination for row in rows if row.status == "dead")
        for place, count in sorted(died.items()):
            lower_dead(tx, dialect, place, count, self._now)
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
        # To the new destination nothing was sent so far, so nothing of it need go first.
        " last_error = NULL, maybe_received = 0, manual = 1, delivery_number = NULL,"
        # Without its last error nobody would look for how often it was tried before that counted.
        f" tries = CASE WHEN tries > 0 THEN tries ELSE {_BEFORE} END"
        f"{dialect.relane}"
        f" WHERE id IN {dialect.ids} AND status IN ('pending', 'dead')"
    )


_BEFORE = TRIED_BEFORE.format(row="shipper_outbox")

"""Sending events elsewhere: what waits, or died, at one destination goes to another.

It decides that no event is ever with two destinations. What a daemon has claimed is left alone;
it is recalled first: the daemon lets go of whatever isn't in flight, and for a moment claims
nothing of that destination. A claim and a move stand in one line, because both begin with the
lease. Nor does an event go before one of its key that fits too, and is still claimed: a key
arrives in the order of id.

It must never touch an event that was delivered or given up, and never keep an application waiting:
one transaction moves as many as fit into its time (see `batches`). If that is cut off, the rest is
where it was.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.store.batches import Turns
from shipper.store.claims import load_ids
from shipper.store.dialect import Dialect, dialect_of
from shipper.store.operate import lower_dead, notify, release_dead, strike_from_claims
from shipper.store.paging import matching, newest
from shipper.store.recording import TRIED_BEFORE, trim_history
from shipper.store.selection import Selection
from shipper.store.snapshot import asked, shown, snapshot, written
from shipper.store.transactions import writing

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


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: what a transaction has moved, or how many events a daemon still has."""

    moved: int = 0
    claimed: int = 0


def movable(engine: Engine, selection: Selection, to: str) -> Movable:
    """Return what `reroute` would move; raises StoreUnavailable, AccessDenied, SchemaError."""
    dialect = dialect_of(engine.dialect.name)
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


def has_claims(engine: Engine) -> bool:
    """Return whether anything is claimed, by a daemon that runs or by one that died."""
    with snapshot(engine) as tx:
        return tx.execute(_CLAIMS).first() is not None


def reroute(engine: Engine, selection: Selection, to: str, now: float) -> Iterator[Step]:
    """Send what fits to another destination, as events that nobody has tried there yet.

    Yields after each transaction. Where a daemon still has some of it, the step says so, and the
    next one asks again: whoever goes on, rests before that; whoever doesn't leaves them there.
    What is written from now on isn't meant. `now` is in seconds since 1970.
    """
    dialect = dialect_of(engine.dialect.name)
    condition, values = _fitting(dialect, selection, to)
    last = newest(engine, condition, values)
    move = _Move(dialect, condition, values, to, now)
    turns, left = Turns(), last > 0
    while left:
        while claimed := _tell(engine, move):
            yield Step(claimed=claimed)
        left = False
        meant = matching(engine, dialect, condition, values, last)
        for ids in turns.cut(meant):
            with turns.timing(len(ids)), writing(engine) as tx:
                page = move.page(tx, ids)
            left = left or page.skipped
            if page.moved:
                yield Step(moved=page.moved)


def _tell(engine: Engine, move: "_Move") -> int:
    with writing(engine) as tx:
        notify(tx)
        return len(move.claimed(tx))


@dataclass(frozen=True, slots=True)
class _Page:
    moved: int
    skipped: bool


class _Move:
    """The statements of one move."""

    def __init__(
        self, dialect: Dialect, condition: str, values: dict[str, Any], to: str, now: float
    ) -> None:
        self._dialect = dialect
        self._values = values
        self._to = to
        self._now = now
        columns = (
            f"SELECT id, status, {written(dialect, 'destination')} AS destination,"
            f" {written(dialect, 'ordering_key')} AS ordering_key FROM shipper_outbox"
        )
        these = dialect.ids.replace(":ids", ":these")
        self._fitting = text(f"{columns} WHERE {condition} AND id IN {these} ORDER BY id")
        mine = dialect.ids.replace(":ids", ":claimed")
        self._claimed = text(f"{columns} WHERE {condition} AND status = 'pending' AND id IN {mine}")

    def claimed(self, tx: Connection) -> Sequence[Row[Any]]:
        """Return what a daemon has of it, and ask for that."""
        ids = sorted({row for found in tx.execute(_CLAIMS).scalars() for row in load_ids(found)})
        if not ids:
            return []
        values = self._values | {"claimed": self._dialect.bind_ids(ids)}
        found = tx.execute(self._claimed, values).all()
        for place in sorted({row.destination for row in found}):
            tx.execute(_RECALL, {"name": place})
        return found

    def page(self, tx: Connection, these: list[int]) -> _Page:
        """Move these, but for what is claimed and what comes after that in its key."""
        notify(tx)
        claimed = self.claimed(tx)
        values = self._values | {"these": self._dialect.bind_ids(these)}
        rows = tx.execute(self._fitting, values).all()
        lanes, ids = {_lane(row) for row in claimed}, {row.id for row in claimed}
        free = [row for row in rows if row.id not in ids and _lane(row) not in lanes]
        if free:
            self._move(tx, free)
        return _Page(len(free), len(free) < len(rows))

    def _move(self, tx: Connection, rows: Sequence[Row[Any]]) -> None:
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
        tx.execute(release_dead(dialect), of_all)
        tx.execute(_redirect(dialect), of_all | {"to": asked(dialect, self._to)})
        died = Counter(row.destination for row in rows if row.status == "dead")
        for place, count in sorted(died.items()):
            lower_dead(tx, dialect, place, count, self._now)
        strike_from_claims(tx, set(ids))


def _lane(row: Row[Any]) -> tuple[Any, Any]:
    return (row.destination, row.id if row.ordering_key is None else row.ordering_key)


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
    lane = 'hashtextextended((CAST(:to AS text) || chr(31) || ordering_key) COLLATE "C", 0)'
    lanes = f", lane = {lane}, slot = coalesce({lane} & 255, slot)"
    return text(
        "UPDATE shipper_outbox SET destination = CAST(:to AS text), reroutes = reroutes + 1,"
        " status = 'pending', attempts = 0, next_attempt_at = NULL, last_status_code = NULL,"
        # To the new destination nothing was sent so far, so nothing of it need go first.
        " last_error = NULL, maybe_received = 0, manual = 1, delivery_number = NULL,"
        # Without its last error nobody would look for how often it was tried before that counted.
        f" tries = CASE WHEN tries > 0 THEN tries ELSE {_BEFORE} END"
        f"{lanes if dialect.name == 'postgresql' else ''}"
        f" WHERE id IN {dialect.ids} AND status IN ('pending', 'dead')"
    )


_BEFORE = TRIED_BEFORE.format(row="shipper_outbox")
_CLAIMS = text("SELECT ids FROM shipper_claim")
_RECALL = text(
    "UPDATE shipper_destination SET recalls = recalls + 1 WHERE name = CAST(:name AS text)"
)

"""Changing events that wait while a daemon runs: what it has claimed is asked for, and left alone.

It decides that no event is changed while it may be on its way. The daemon that is asked lets go of
whatever isn't in flight, and for a moment claims nothing of that destination. A claim and a change
stand in one line, because both begin with the lease.

It must never touch what is claimed, and never keep an application waiting: one transaction changes
as many as fit into its time (see `batches`). If it is cut off, the rest is as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from shipper.store.db.batches import Batches
from shipper.store.db.dialect import Dialect
from shipper.store.db.paging import matching, newest
from shipper.store.db.snapshot import snapshot, written
from shipper.store.db.transactions import writing
from shipper.store.drain.claims import load_ids
from shipper.store.operate.acts import notify

Change = Callable[[Connection, Sequence[Row[Any]]], None]


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: what a transaction has changed, or how many events a daemon still has."""

    moved: int = 0
    claimed: int = 0


@dataclass(frozen=True, slots=True)
class _Page:
    changed: int
    skipped: bool


def has_claims(engine: Engine) -> bool:
    """Return whether anything is claimed, by a daemon that runs or by one that died."""
    with snapshot(engine) as tx:
        return tx.execute(_CLAIMS).first() is not None


class Recall:
    """What fits a condition, and what is done with it; `by_key`: a key's events in their order.

    Then none goes before one of its key that fits too, and is still claimed.
    """

    def __init__(
        self,
        dialect: Dialect,
        condition: str,
        values: dict[str, Any],
        change: Change,
        *,
        by_key: bool,
    ) -> None:
        self._dialect = dialect
        self._condition = condition
        self._values = values
        self._change = change
        self._by_key = by_key
        columns = (
            f"SELECT id, status, {written(dialect, 'destination')} AS destination,"
            f" {written(dialect, 'ordering_key')} AS ordering_key FROM shipper_outbox"
        )
        mine = dialect.ids.replace(":ids", ":claimed")
        these = dialect.ids.replace(":ids", ":these")
        self._fitting = text(f"{columns} WHERE {condition} AND id IN {these} ORDER BY id")
        self._claimed = text(f"{columns} WHERE {condition} AND status = 'pending' AND id IN {mine}")

    def steps(self, engine: Engine) -> Iterator[Step]:
        """Change what fits, and yield after each transaction.

        Where a daemon still has some of it, the step says so, and the next one asks again: whoever
        goes on, rests before that; whoever doesn't leaves them as they are. What is written from
        now on isn't meant.
        """
        last = newest(engine, self._condition, self._values)
        batches, left = Batches(), last > 0
        while left:
            while claimed := self._tell(engine):
                yield Step(claimed=claimed)
            left = False
            meant = matching(engine, self._dialect, self._condition, self._values, last)
            for ids in batches.cut(meant):
                with batches.timing(len(ids)), writing(engine) as tx:
                    page = self._page(tx, ids)
                left = left or page.skipped
                if page.changed:
                    yield Step(moved=page.changed)

    def _tell(self, engine: Engine) -> int:
        with writing(engine) as tx:
            notify(tx)
            return len(self._ask(tx))

    def _ask(self, tx: Connection) -> Sequence[Row[Any]]:
        """Return what a daemon has of it, and ask for that."""
        ids = sorted({row for found in tx.execute(_CLAIMS).scalars() for row in load_ids(found)})
        if not ids:
            return []
        values = self._values | {"claimed": self._dialect.bind_ids(ids)}
        found = tx.execute(self._claimed, values).all()
        for place in sorted({row.destination for row in found}):
            tx.execute(_RECALL, {"name": place})
        return found

    def _page(self, tx: Connection, these: list[int]) -> _Page:
        notify(tx)
        claimed = self._ask(tx)
        values = self._values | {"these": self._dialect.bind_ids(these)}
        rows = tx.execute(self._fitting, values).all()
        ids = {row.id for row in claimed}
        lanes = {_lane(row) for row in claimed} if self._by_key else set()
        free = [row for row in rows if row.id not in ids and _lane(row) not in lanes]
        if free:
            self._change(tx, free)
        return _Page(len(free), len(free) < len(rows))


def _lane(row: Row[Any]) -> tuple[Any, Any]:
    return (row.destination, row.id if row.ordering_key is None else row.ordering_key)


_CLAIMS = text("SELECT ids FROM shipper_claim")
_RECALL = text(
    "UPDATE shipper_destination SET recalls = recalls + 1 WHERE name = CAST(:name AS text)"
)

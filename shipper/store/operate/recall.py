"""Changing pending events while a daemon runs, without changing one that may be in flight.

It decides which events are left alone: those that a daemon has claimed. They are recalled: the
daemon lets go of what isn't in flight, and for a moment claims nothing of that destination. Claims
and changes can't overlap, because a change keeps all daemons from writing.

It must never change a claimed event, and never keep an application waiting: one transaction changes
as many events as fit into its time (see `batches`). If it is cut off, the other events are as they
were.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from shipper.store.db.batches import Batches
from shipper.store.db.dialect import Dialect
from shipper.store.db.paging import matching, newest
from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import writing
from shipper.store.lease.claim_rows import claimed_ids, claims
from shipper.store.operate.bookkeeping import ask_daemons, columns, notify

_Lane = tuple[Any, Any]
PageChange = Callable[[Connection, Sequence[Row[Any]]], None]


@dataclass(frozen=True, slots=True)
class Step:
    """What a transaction has changed, or how many events a daemon still has."""

    moved: int = 0
    claimed: int = 0


@dataclass(frozen=True, slots=True)
class _Page:
    changed: int
    skipped: bool


def has_claims(engine: Engine) -> bool:
    """Return whether anything is claimed, by a daemon that runs or by one that died."""
    with snapshot(engine) as tx:
        return bool(claims(tx))


class Recall:
    """The events that fit a condition, and the change that is made to them.

    With `by_key` the events of a key are changed in their order: none before an earlier event of
    its key that fits too and is still claimed, or was claimed when its turn came.
    """

    def __init__(
        self,
        dialect: Dialect,
        condition: str,
        values: dict[str, Any],
        change: PageChange,
        *,
        by_key: bool,
    ) -> None:
        self._dialect = dialect
        self._condition = condition
        self._values = values
        self._change = change
        self._by_key = by_key
        fitting = f"{columns(dialect)} WHERE {condition}"
        claimed = dialect.ids.replace(":ids", ":claimed")
        these = dialect.ids.replace(":ids", ":these")
        self._fitting = text(f"{fitting} AND id IN {these} ORDER BY id")
        self._claimed = text(f"{fitting} AND status = 'pending' AND id IN {claimed}")

    def steps(self, engine: Engine) -> Iterator[Step]:
        """Change the events that fit; yield after each transaction.

        While a daemon still has some of them, the step says how many, and the next step asks again.
        The caller waits in between, or stops and so leaves these events as they are. Events that
        are written from now on aren't changed.
        """
        last = newest(engine, self._condition, self._values)
        batches, left = Batches(), last > 0
        while left:
            while claimed := self._ask_daemon(engine):
                yield Step(claimed=claimed)
            left, waiting = False, set[_Lane]()
            meant = matching(engine, self._dialect, self._condition, self._values, last)
            for ids in batches.cut(meant):
                with batches.timing(len(ids)), writing(engine) as tx:
                    page = self._page(tx, ids, waiting)
                left = left or page.skipped
                if page.changed:
                    yield Step(moved=page.changed)

    def _ask_daemon(self, engine: Engine) -> int:
        with writing(engine) as tx:
            ask_daemons(tx)
            return len(self._recall(tx))

    def _recall(self, tx: Connection) -> Sequence[Row[Any]]:
        """Return the fitting events that a daemon has claimed; ask the daemon to let go of them."""
        ids = claimed_ids(tx)
        if not ids:
            return []
        values = self._values | {"claimed": self._dialect.bind_ids(ids)}
        found = tx.execute(self._claimed, values).all()
        for place in sorted({row.destination for row in found}):
            tx.execute(_RECALL, {"name": place})
        return found

    def _page(self, tx: Connection, these: list[int], waiting: set[_Lane]) -> _Page:
        """Change a page of events; add to `waiting` the lanes that have to wait for their first.

        A claim may end between two pages: then the page that skipped the event is over, and what
        follows it in its lane has to stay behind it all the same.
        """
        notify(tx)
        claimed = self._recall(tx)
        values = self._values | {"these": self._dialect.bind_ids(these)}
        rows = tx.execute(self._fitting, values).all()
        ids = {row.id for row in claimed}
        if self._by_key:
            waiting.update(_lane(row) for row in claimed)
        free = [row for row in rows if row.id not in ids and _lane(row) not in waiting]
        if free:
            self._change(tx, free)
        return _Page(len(free), len(free) < len(rows))


def _lane(row: Row[Any]) -> _Lane:
    return (row.destination, row.id if row.ordering_key is None else row.ordering_key)


_RECALL = text(
    "UPDATE shipper_destination SET recalls = recalls + 1 WHERE name = CAST(:name AS text)"
)

"""How far the shipping has come: what `drain` waits for and shows. Reads only.

`ended_counts` reads one row per destination, so `drain` asks for it often. `behind_held_keys` reads
every pending row if any key is held, so `drain` asks for it once.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, exists, func, select

from shipper.store.db.dialect import dialect_of
from shipper.store.db.transactions import reading
from shipper.store.schema import tables


@dataclass(frozen=True, slots=True)
class EndedCounts:
    """How many events have ended, over all destinations."""

    delivered: int
    dead: int
    discarded: int

    @property
    def total(self) -> int:
        """Return how many events have ended."""
        return self.delivered + self.dead + self.discarded


_OUTBOX, _HOLD = tables.outbox.c, tables.hold.c

# An event that is deleted meanwhile must still count; nearly all deleted ones were delivered.
_ENDED = (
    "SELECT coalesce(sum(delivered + purged), 0), coalesce(sum(dead), 0),"
    " coalesce(sum(discarded), 0) FROM {0}"
)
_ANY_HOLD = select(exists().select_from(tables.hold))
_BEHIND = (
    select(_OUTBOX.destination, func.count())
    .where(
        _OUTBOX.status == "pending",
        exists().where(
            _HOLD.destination == _OUTBOX.destination, _HOLD.ordering_key == _OUTBOX.ordering_key
        ),
    )
    .group_by(_OUTBOX.destination)
)


def ended_counts(engine: Engine) -> EndedCounts:
    """Return the counters, which are kept up to date with every record."""
    with reading(engine) as tx:
        query = _ENDED.format(dialect_of(tx).counters)
        return EndedCounts(*map(int, tx.exec_driver_sql(query).one()))


def behind_held_keys(engine: Engine) -> dict[str, int]:
    """Return how many pending events wait behind a held key, by destination."""
    with reading(engine) as tx:
        if not tx.execute(_ANY_HOLD).scalar_one():
            return {}
        return {name: count for name, count in tx.execute(_BEHIND)}  # noqa: C416 - rows are tuples

"""How far the shipping is: what `drain` waits for and shows. Reads only.

`settled` reads one row a destination and may be asked often; `behind_held_keys` looks at every
pending row where a key is held.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, exists, func, select

from shipper.store.db.dialect import dialect_of
from shipper.store.db.transactions import reading
from shipper.store.schema import tables


@dataclass(frozen=True, slots=True)
class Settled:
    """How many events have come to an end, over all destinations."""

    delivered: int
    dead: int
    discarded: int

    @property
    def total(self) -> int:
        """Return how many in all."""
        return self.delivered + self.dead + self.discarded


_OUTBOX, _HOLD = tables.outbox.c, tables.hold.c

# What is deleted meanwhile must not count backwards, and nearly all of it was delivered.
_SETTLED = (
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


def settled(engine: Engine) -> Settled:
    """Return the counters that every transition keeps up to date."""
    with reading(engine) as tx:
        query = _SETTLED.format(dialect_of(tx).counters)
        return Settled(*map(int, tx.exec_driver_sql(query).one()))


def behind_held_keys(engine: Engine) -> dict[str, int]:
    """Return how many pending events wait behind a held key, by destination."""
    with reading(engine) as tx:
        if not tx.execute(_ANY_HOLD).scalar_one():
            return {}
        return {name: count for name, count in tx.execute(_BEHIND)}  # noqa: C416 - rows are tuples

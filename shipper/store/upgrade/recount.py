"""Corrects the counters of the destinations by counting, after a change by hand (SQL).

Shipper itself never leaves a counter wrong; SQL by hand does. It must never change an event, and no
other process waits for the counting. A counter changes in the transaction that changes the rows, so
the difference between counter and rows stays the same while shipper works. The difference is found
in one view of the data, which can take long, and added in a short transaction, unless another
recount has done so in the meantime.
"""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from shipper.errors import StoreUnavailable
from shipper.store.db.dialect import dialect_of
from shipper.store.db.snapshot import snapshot, sorting_on_disk, written
from shipper.store.db.transactions import writing
from shipper.store.lease.turns import fold_all

COUNTERS = ("delivered", "dead", "discarded")
# A deletion meanwhile sets a counter that is too low to 0, which changes the difference.
_PASSES = 5

Name = str | bytes


@dataclass(frozen=True, slots=True)
class _Off:
    """The differences of the counters, by destination and status, after `turn` recounts."""

    turn: int
    by: dict[Name, dict[str, int]]


def recount(engine: Engine) -> int:
    """Correct the counters by the rows; return for how many destinations they were wrong.

    Raises StoreUnavailable and AccessDenied.
    """
    wrong: set[Name] = set()
    for _ in range(_PASSES):
        off = _look(engine)
        if not off.by:
            return len(wrong)
        with writing(engine) as tx:
            if _is_first(tx, off.turn):
                for name, counts in sorted(off.by.items()):
                    tx.execute(_KNOW, {"name": name})
                    tx.execute(_ADD, {"name": name, **counts})
                wrong |= off.by.keys()
    raise StoreUnavailable(
        "the counters change while they are counted", "are rows being changed by hand?"
    )


def is_needed(engine: Engine) -> bool:
    """Return whether a counter is wrong; reads every row, and changes none."""
    return bool(_look(engine).by)


def _look(engine: Engine) -> _Off:
    dialect = dialect_of(engine)
    name = written(dialect, "destination")
    # Without pending events: during an outage there are many, and no counter counts them.
    rows = text(
        f"SELECT {name} AS name, status, count(*) AS events FROM shipper_outbox"
        " WHERE status <> 'pending' GROUP BY destination, status"
    )
    counters = (
        f"SELECT {written(dialect, 'name')} AS name, {', '.join(COUNTERS)} FROM {dialect.counters}"
    )
    off: dict[Name, Counter[str]] = {}
    with sorting_on_disk(engine), snapshot(engine) as tx:
        dialect.as_long_as_it_takes(tx)
        turn = tx.execute(_TURN).scalar() or 0
        for row in tx.execute(rows):
            off.setdefault(row.name, Counter())[row.status] += row.events
        for row in tx.execute(text(counters)):
            off.setdefault(row.name, Counter()).subtract({s: getattr(row, s) for s in COUNTERS})
    by = {name: {status: counts[status] for status in COUNTERS} for name, counts in off.items()}
    return _Off(turn, {name: counts for name, counts in by.items() if any(counts.values())})


def _is_first(tx: Connection, turn: int) -> bool:
    """Return whether no other recount came first; notify a running daemon of the change."""
    # Each transaction that records or moves an event waits for this one.
    dialect_of(tx).lock_daemons(tx)
    tx.execute(_NOTIFY)
    fold_all(tx)  # otherwise a counter could go below 0 for a while
    tx.execute(_BEGIN)
    return tx.execute(_ADVANCE, {"turn": turn}).rowcount == 1


_TURN = text("SELECT generation FROM shipper_lease WHERE name = 'recount'")
_NOTIFY = text("UPDATE shipper_lease SET generation = generation + 1 WHERE name = 'outbox'")
_BEGIN = text("INSERT INTO shipper_lease (name) VALUES ('recount') ON CONFLICT (name) DO NOTHING")
_ADVANCE = text(
    "UPDATE shipper_lease SET generation = generation + 1"
    " WHERE name = 'recount' AND generation = :turn"
)
_KNOW = text(
    "INSERT INTO shipper_destination (name) VALUES (CAST(:name AS text)) ON CONFLICT DO NOTHING"
)
_ADD = text(
    f"UPDATE shipper_destination SET {', '.join(f'{name} = {name} + :{name}' for name in COUNTERS)}"
    " WHERE name = CAST(:name AS text)"
)

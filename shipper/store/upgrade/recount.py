"""Counting anew what the counters of every destination should say, where somebody changed rows.

Nothing of ours leaves a counter wrong; SQL by hand does. It must never change an event, and nobody
waits for the counting: a counter moves in the transaction that moves the rows, so by how much it is
off stays the same whatever goes on. That difference is found in one view of the data, for as long
as that takes, and added in a short transaction, unless somebody else has done so meanwhile.
"""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from shipper.errors import StoreUnavailable
from shipper.store.db.dialect import dialect_of
from shipper.store.db.snapshot import snapshot, sorting_on_disk, written
from shipper.store.db.transactions import writing
from shipper.store.lease.turns import fold_all

_COUNTED = ("delivered", "dead", "discarded")
# A deletion beside us sets a counter that is too low to 0, and the difference is another then.
_ROUNDS = 5

Name = str | bytes


@dataclass(frozen=True, slots=True)
class _Off:
    """By how much the counters are off, by destination and status, after so many recounts."""

    turn: int
    by: dict[Name, dict[str, int]]


def recount(engine: Engine) -> int:
    """Set the counters to what the rows say; return of how many destinations they were wrong.

    Raises StoreUnavailable and AccessDenied.
    """
    wrong: set[Name] = set()
    for _ in range(_ROUNDS):
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
        "the counters change while they are counted", "is somebody changing rows by hand?"
    )


def is_needed(engine: Engine) -> bool:
    """Return whether any counter is off; reads every row, and changes none."""
    return bool(_look(engine).by)


def _look(engine: Engine) -> _Off:
    dialect = dialect_of(engine)
    name = written(dialect, "destination")
    # Without what is pending: that is most of an outbox that waits, and no counter counts it.
    rows = text(
        f"SELECT {name} AS name, status, count(*) AS events FROM shipper_outbox"
        " WHERE status <> 'pending' GROUP BY destination, status"
    )
    counters = (
        f"SELECT {written(dialect, 'name')} AS name, {', '.join(_COUNTED)} FROM {dialect.counters}"
    )
    off: dict[Name, Counter[str]] = {}
    with sorting_on_disk(engine), snapshot(engine) as tx:
        dialect.as_long_as_it_takes(tx)
        turn = tx.execute(_TURN).scalar() or 0
        for row in tx.execute(rows):
            off.setdefault(row.name, Counter())[row.status] += row.events
        for row in tx.execute(text(counters)):
            off.setdefault(row.name, Counter()).subtract({s: getattr(row, s) for s in _COUNTED})
    by = {name: {status: counts[status] for status in _COUNTED} for name, counts in off.items()}
    return _Off(turn, {name: counts for name, counts in by.items() if any(counts.values())})


def _is_first(tx: Connection, turn: int) -> bool:
    """Return whether nobody has added the same since we looked; tells a running daemon."""
    # Whoever records or moves an event begins with this row, as we do.
    tx.execute(_NOTIFY)
    fold_all(tx)  # else one could go below 0 for a while
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
    f"UPDATE shipper_destination SET {', '.join(f'{name} = {name} + :{name}' for name in _COUNTED)}"
    " WHERE name = CAST(:name AS text)"
)

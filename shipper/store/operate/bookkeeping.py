"""What every operator's change to events has to change as well: holds, counters, claims, the lease.

It decides how a running daemon learns of a change. The transaction first moves the generation of
the lease: that locks the lease, so all writers queue there and can't deadlock. A change of events
or keys then keeps all daemons from writing. It names the lanes that it has touched, so that the
daemons look at those lanes only.

This module must never decide which events are changed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import written
from shipper.store.drain.messages import NAMED, NAMED_SPAN
from shipper.store.lease.claim_rows import claims
from shipper.store.lease.claims import dump_ids, load_ids
from shipper.store.lease.turns import fold_all

NAMED_MOST = 128
"""A transaction that changes more events doesn't name their lanes: any lane may have changed."""

# -- what the daemon learns ---------------------------------------------------------------------


def notify(tx: Connection) -> None:
    """Tell the daemons that something changed, and keep them from writing. Call it first.

    Here writers wait for each other.
    """
    dialect_of(tx).lock_daemons(tx)
    tx.execute(_NOTIFY, {"by": NAMED})


def ask_daemons(tx: Connection, *, of_all: bool = False) -> None:
    """Tell the daemons that something is asked of them; it waits for none of them.

    They go on writing, so this isn't enough for a change of events or keys. With `of_all` they look
    at all lanes again; that takes them a while.
    """
    dialect_of(tx).lock_lease(tx)
    tx.execute(_NOTIFY, {"by": 1 if of_all else NAMED})


def touch(tx: Connection, dialect: Dialect, ids: Sequence[int]) -> None:
    """Name the lanes of changed events, after `notify`; of many, have it look at all lanes."""
    if len(ids) > NAMED_MOST:
        ask_daemons(tx, of_all=True)
        return
    rows = f"shipper_outbox{dialect.by_id} WHERE id IN {dialect.ids}"
    _touch(tx, f"id, ordering_key FROM {rows}", {"ids": dialect.bind_ids(list(ids))})


def touch_held(tx: Connection, condition: str, values: dict[str, Any]) -> None:
    """Name the lanes of the holds that fit a condition, after `notify`."""
    _touch(tx, f"0, ordering_key FROM shipper_hold WHERE {condition}", values)


def _touch(tx: Connection, lanes: str, values: dict[str, Any]) -> None:
    # Lanes of the last commands stay named; a daemon that missed more commands notices that.
    tx.execute(_FORGET_TOUCHED)
    tx.execute(text(f"{_TOUCH}, {lanes}"), values)


# -- what else changes with an event ------------------------------------------------------------


def columns(dialect: Dialect) -> str:
    """Return the fragment that selects what this module has to know of an event."""
    return (
        f"SELECT id, status, {written(dialect, 'destination')} AS destination,"
        f" {written(dialect, 'ordering_key')} AS ordering_key FROM shipper_outbox"
    )


def among(dialect: Dialect, *statuses: str) -> TextClause:
    """Return the statement that finds those events of `ids` that have one of the statuses."""
    wanted = ", ".join(f"'{status}'" for status in statuses)
    return text(
        f"{columns(dialect)}{dialect.by_id} WHERE id IN {dialect.ids} AND status IN ({wanted})"
    )


def release_dead(dialect: Dialect) -> TextClause:
    """Return the statement that ends the holds by dead letters of `ids`; it looks holds up by key.

    So its cost doesn't grow with the number of holds.
    """
    return text(
        f"DELETE FROM shipper_hold WHERE id IN (SELECT h.id FROM shipper_outbox AS o{dialect.by_id}"
        # SQLite goes through the tables of a CROSS JOIN in the order in which they stand.
        " CROSS JOIN shipper_hold AS h"
        f" WHERE o.id IN {dialect.ids} AND {dialect.its_hold.format(hold='h', row='o')}"
        " AND h.cause = 'dead_letter' AND h.event_id = o.event_id)"
    )


def count_changed(
    tx: Connection,
    dialect: Dialect,
    rows: Iterable[Row[Any]],
    now: float | None = None,
    *,
    discarded: bool,
) -> None:
    """Bring the counters up to date; `rows` are the changed events as `among` found them.

    Those that were dead letters aren't any more; with `discarded`, all of them are discarded.
    """
    everything = [(row.destination, row.status) for row in rows]
    dead = Counter(place for place, status in everything if status == "dead")
    ended = Counter(place for place, _ in everything) if discarded else Counter()
    if dead:
        fold_all(tx)
    for place in sorted({*dead, *ended}):
        values = {"name": place, "dead": dead[place], "discarded": ended[place]}
        tx.execute(_count(dialect), values | {"now": dialect.bind_time(now)})


def strike_from_claims(tx: Connection, ids: set[int]) -> None:
    """Delete these ids from all claims, so that no later process takes the events for sent.

    A claim keeps the ids whose outcome was recorded, because their status shows that they aren't in
    flight. The status of an event that is pending again no longer shows it.
    """
    of_claim = dialect_of(tx).of_claim
    for token, number, claimed in claims(tx):
        before = load_ids(claimed)
        kept = [row for row in before if row not in ids]
        if len(kept) < len(before):
            values = {"token": token, "number": number, "ids": dump_ids(kept)}
            change = _REWRITE_CLAIM if kept else _END_CLAIM
            tx.execute(text(change.format(of_claim)), values)


# -- statements ---------------------------------------------------------------------------------


def _count(dialect: Dialect) -> TextClause:
    return text(
        "INSERT INTO shipper_destination (name, discarded) VALUES (CAST(:name AS text), :discarded)"
        " ON CONFLICT (name) DO UPDATE SET dead = shipper_destination.dead - :dead,"
        " discarded = shipper_destination.discarded + excluded.discarded,"
        # The daemon measures the rest of a pause from this time, if the clock was set back since.
        " updated_at = CASE WHEN shipper_destination.next_try_at IS NULL"
        f" THEN coalesce({dialect.time.format('now')}, shipper_destination.updated_at)"
        " ELSE shipper_destination.updated_at END"
    )


_NOTIFY = text("UPDATE shipper_lease SET generation = generation + :by WHERE name = 'outbox'")
_GENERATION = "(SELECT generation FROM shipper_lease WHERE name = 'outbox')"
_TOUCH = (
    "INSERT INTO shipper_touched (generation, destination, outbox_id, ordering_key)"
    f" SELECT {_GENERATION}, destination"
)
_FORGET_TOUCHED = text(
    f"DELETE FROM shipper_touched WHERE generation <= {_GENERATION} - {NAMED_SPAN}"
)
_REWRITE_CLAIM = (
    "UPDATE shipper_claim SET ids = :ids WHERE {0} = CAST(:token AS bigint) AND number = :number"
)
_END_CLAIM = "DELETE FROM shipper_claim WHERE {0} = CAST(:token AS bigint) AND number = :number"

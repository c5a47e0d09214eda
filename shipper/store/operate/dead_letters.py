"""What an operator does to dead letters: retry or discard them.

It decides what a retried event starts with: no charged failures, and its old place in its lane. A
hold by a dead letter ends with the dead letter.

It must never change an event that isn't dead, and never keep an application waiting: whatever the
number of events, one transaction changes as many as fit into its time (see `batches`).
"""

from dataclasses import replace

from sqlalchemy import Connection, Engine, TextClause, text

from shipper.store.db.batches import Batches
from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.paging import matching
from shipper.store.db.selection import Selection
from shipper.store.db.transactions import writing
from shipper.store.operate.bookkeeping import (
    among,
    count_changed,
    notify,
    release_dead,
    strike_from_claims,
    touch,
)


def retry(engine: Engine, selection: Selection, now: float) -> int:
    """Make the dead letters that fit pending again; return how many there were.

    A retried event goes before the pending events of its key that have higher ids.
    """
    return _change(engine, selection, "pending", now)


def discard(engine: Engine, selection: Selection, now: float) -> int:
    """Discard the dead letters that fit; return how many there were."""
    return _change(engine, selection, "discarded", now)


def _change(engine: Engine, selection: Selection, status: str, now: float) -> int:
    dialect = dialect_of(engine)
    changed = 0
    batches = Batches()
    meant = matching(engine, dialect, *replace(selection, status="dead").where(dialect))
    for ids in batches.cut(meant):
        with batches.timing(len(ids)), writing(engine) as tx:
            changed += _change_page(tx, dialect, ids, status, now)
    return changed


def _change_page(tx: Connection, dialect: Dialect, ids: list[int], status: str, now: float) -> int:
    notify(tx)
    found = tx.execute(among(dialect, "dead"), {"ids": dialect.bind_ids(ids)}).all()
    if not found:
        return 0
    ids = [row.id for row in found]
    values = {"ids": dialect.bind_ids(ids)}
    tx.execute(_CHANGE[status](dialect), values)
    tx.execute(release_dead(dialect), values)
    touch(tx, dialect, ids)
    count_changed(tx, dialect, found, now, discarded=status == "discarded")
    if status == "pending":
        strike_from_claims(tx, set(ids))
    return len(ids)


# -- statements ---------------------------------------------------------------------------------


def _revive(dialect: Dialect) -> TextClause:
    return text(
        "UPDATE shipper_outbox SET status = 'pending', attempts = 0, next_attempt_at = NULL,"
        f" manual = 1, delivery_number = NULL WHERE id IN {dialect.ids} AND status = 'dead'"
    )


def _discard(dialect: Dialect) -> TextClause:
    return text(
        "UPDATE shipper_outbox SET status = 'discarded'"
        f" WHERE id IN {dialect.ids} AND status = 'dead'"
    )


_CHANGE = {"pending": _revive, "discarded": _discard}

"""Discarding events that are still pending: what a restored copy, or a wrong import, would send.

It decides that no event is discarded while it may be in flight: the daemon is asked for what it has
claimed first (see `recall`). It must never change an event that isn't pending.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from shipper.store.db.dialect import dialect_of
from shipper.store.db.selection import Selection
from shipper.store.operate.bookkeeping import count_changed, touch
from shipper.store.operate.recall import Recall, Step


def discard_pending(engine: Engine, selection: Selection) -> Iterator[Step]:
    """Discard the pending events that fit, in the steps of a `Recall`."""
    dialect = dialect_of(engine)
    condition, values = replace(selection, status="pending").where(dialect)
    discard = text(
        f"UPDATE shipper_outbox{dialect.by_id} SET status = 'discarded', next_attempt_at = NULL"
        f" WHERE id IN {dialect.ids} AND status = 'pending'"
    )

    def change(tx: Connection, rows: Sequence[Row[Any]]) -> None:
        ids = [row.id for row in rows]
        tx.execute(discard, {"ids": dialect.bind_ids(ids)})
        touch(tx, dialect, ids)
        count_changed(tx, dialect, rows, discarded=True)

    return Recall(dialect, condition, values, change, by_key=False).steps(engine)

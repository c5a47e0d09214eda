"""What an operator does to pending events that wait for their next try: send them now.

It must never change an event's place in its lane or its charged failures, and never keep an
application waiting: one transaction changes as many events as fit into its time (see `batches`).
"""

from dataclasses import replace

from sqlalchemy import Engine, text

from shipper.store.db.batches import Batches
from shipper.store.db.dialect import dialect_of
from shipper.store.db.paging import matching
from shipper.store.db.selection import Selection
from shipper.store.db.transactions import writing
from shipper.store.operate.bookkeeping import notify, touch


def send_now(engine: Engine, selection: Selection) -> int:
    """Make the pending events that fit due now; return how many there were.

    The history shows the next try as one that an operator asked for.
    """
    dialect = dialect_of(engine)
    hurry = text(
        f"UPDATE shipper_outbox{dialect.by_id} SET next_attempt_at = NULL, manual = 1"
        f" WHERE id IN {dialect.ids} AND status = 'pending'"
    )
    hurried, batches = 0, Batches()
    meant = matching(engine, dialect, *replace(selection, status="pending").where(dialect))
    for ids in batches.cut(meant):
        with batches.timing(len(ids)), writing(engine) as tx:
            notify(tx)
            hurried += tx.execute(hurry, {"ids": dialect.bind_ids(ids)}).rowcount
            touch(tx, dialect, ids)
    return hurried

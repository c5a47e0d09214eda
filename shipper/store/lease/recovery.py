"""What a process that died may have sent: marked, so that it is repeated before anything else.

It decides, from the claims on disk, which events those are (see `claims`). It runs in the
transaction that takes the lease, gives it back, or ends another daemon. It must never mark an event
that has ended.
"""

from sqlalchemy import Connection, TextClause, text

from shipper.policy.event import Event
from shipper.store.db.dialect import Dialect
from shipper.store.lease.claim_rows import claims_of
from shipper.store.lease.claims import chunks, first_of_each_lane, load_ids


def recover(tx: Connection, dialect: Dialect, token: int) -> int:
    """Mark what the daemon with this token may have sent, and end its claims.

    Returns how many events were marked.
    """
    claims = [(row.number, row.ids) for row in claims_of(tx, token)]
    ids = sorted({row for _, rows in claims for row in load_ids(rows)})
    pending: dict[int, Event] = {}
    for chunk in chunks(ids):
        for row in tx.execute(_pending(dialect), {"ids": dialect.bind_ids(chunk)}):
            key = dialect.text(row.ordering_key)
            pending[row.id] = Event(row.id, "", row.destination, key, b"")
    first = first_of_each_lane(claims, pending)
    for chunk in chunks(first):
        tx.execute(_mark_received(dialect), {"ids": dialect.bind_ids(chunk)})
    tx.execute(_end_claims(dialect), {"token": token})
    return len(first)


# -- statements ---------------------------------------------------------------------------------


def _pending(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT id, destination, {dialect.ordering_key} AS ordering_key"
        f" FROM shipper_outbox{dialect.by_id} WHERE id IN {dialect.ids} AND status = 'pending'"
    )


def _mark_received(dialect: Dialect) -> TextClause:
    return text(
        f"UPDATE shipper_outbox{dialect.by_id} SET maybe_received = 1 WHERE id IN {dialect.ids}"
    )


def _end_claims(dialect: Dialect) -> TextClause:
    return text(f"DELETE FROM shipper_claim WHERE {dialect.of_claim} IN (0, :token)")

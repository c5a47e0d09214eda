"""Counting anew what the counters of every destination should say, where somebody changed rows.

Nothing of ours leaves a counter wrong; SQL by hand does. It must never change an event. While it
counts nobody else writes, so that what is counted is what is there; on SQLite that includes the
application, whose INSERT waits for as long as its own busy timeout.
"""

from sqlalchemy import Engine, text

from shipper.store.transactions import writing
from shipper.store.turns import fold_all

_COUNTED = ("delivered", "dead", "discarded")


def recount(engine: Engine) -> int:
    """Set the counters to what the rows say; return of how many destinations they were wrong.

    Raises StoreUnavailable and AccessDenied.
    """
    with writing(engine) as tx:
        if engine.dialect.name == "postgresql":
            tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
        tx.execute(_ALONE)
        fold_all(tx)
        tx.execute(_MISSING)
        return tx.execute(_COUNT).rowcount


# Whoever records or moves an event begins with this row, so all of them wait for us.
_ALONE = text("UPDATE shipper_lease SET generation = generation + 1 WHERE name = 'outbox'")
_MISSING = text(
    "INSERT INTO shipper_destination (name) SELECT DISTINCT destination FROM shipper_outbox"
    " WHERE status <> 'pending' ON CONFLICT DO NOTHING"
)


def _rows(status: str) -> str:
    return (
        "(SELECT count(*) FROM shipper_outbox AS o WHERE o.destination = shipper_destination.name"
        f" AND o.status = '{status}')"
    )


_COUNT = text(
    f"UPDATE shipper_destination SET {', '.join(f'{name} = {_rows(name)}' for name in _COUNTED)}"
    f" WHERE {' OR '.join(f'{name} <> {_rows(name)}' for name in _COUNTED)}"
)

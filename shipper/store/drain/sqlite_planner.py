"""Deletes what SQLite's planner has noted about the outbox's tables.

ANALYZE, and `PRAGMA optimize` with which many applications end, note how many rows a table has. An
outbox that had three rows at that time may have millions after an outage, but SQLite still plans
for three: it reads the whole table for a claim of a few ids. Without a note it looks up each id,
which is right for every size. So the daemon deletes the notes about shipper's tables; it must never
delete a note about any other table. PostgreSQL looks at the size of a table itself.
"""

from sqlalchemy import Connection, Engine, text

from shipper.store.db.transactions import reading, writing

_OURS = "tbl GLOB 'shipper_*'"
_TABLES = text(
    "SELECT name FROM sqlite_master WHERE type = 'table'"
    " AND name IN ('sqlite_stat1', 'sqlite_stat4')"
)


def forget_statistics(engine: Engine) -> bool:
    """Delete the notes about shipper's tables; return whether there were any. SQLite only.

    Raises StoreUnavailable and AccessDenied.
    """
    with reading(engine) as tx:
        if not _noted(tx):
            return False
    with writing(engine) as tx:
        forget(tx)
    return True


def forget(tx: Connection) -> None:
    """Delete the notes, in a transaction that writes."""
    noted = _noted(tx)
    for table in noted:
        tx.execute(text(f"DELETE FROM {table} WHERE {_OURS}"))
    if noted:
        # SQLite notes nothing of that table, but reads its notes again on this connection.
        tx.exec_driver_sql("ANALYZE sqlite_master")


def _noted(tx: Connection) -> list[str]:
    """Return the tables of notes that have one about a table of shipper's."""
    tables = tx.execute(_TABLES).scalars().all()
    ours = {table: text(f"SELECT 1 FROM {table} WHERE {_OURS} LIMIT 1") for table in tables}
    return [table for table, note in ours.items() if tx.execute(note).first()]

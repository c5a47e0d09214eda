"""What SQLite's planner must not believe of our tables.

ANALYZE, and `PRAGMA optimize` with which many applications end, note how many rows a table has. An
outbox that held three rows then may hold millions after an outage, and SQLite goes on believing
what was noted: it reads the whole table where a claim asks for some ids. Without a note it takes
the way by the id, which is the right one for every size. So notes on tables of ours are deleted;
none of anybody else's is ever touched. PostgreSQL looks at the size of a table itself.
"""

from sqlalchemy import Connection, Engine, text

from shipper.store.db.transactions import reading, writing

_OURS = "tbl GLOB 'shipper_*'"
_TABLES = text(
    "SELECT name FROM sqlite_master WHERE type = 'table'"
    " AND name IN ('sqlite_stat1', 'sqlite_stat4')"
)


def forget_statistics(engine: Engine) -> bool:
    """Delete what is noted, where anything is; return whether that was so. SQLite only.

    Raises StoreUnavailable and AccessDenied.
    """
    with reading(engine) as tx:
        if not _noted(tx):
            return False
    with writing(engine) as tx:
        forget(tx)
    return True


def forget(tx: Connection) -> None:
    """Delete what is noted, in a transaction that writes."""
    noted = _noted(tx)
    for table in noted:
        tx.execute(text(f"DELETE FROM {table} WHERE {_OURS}"))
    if noted:
        # Of that table it notes nothing; it lets this connection read anew what is noted.
        tx.exec_driver_sql("ANALYZE sqlite_master")


def _noted(tx: Connection) -> list[str]:
    """Return the tables with a note on one of ours."""
    tables = tx.execute(_TABLES).scalars().all()
    ours = {table: text(f"SELECT 1 FROM {table} WHERE {_OURS} LIMIT 1") for table in tables}
    return [table for table, note in ours.items() if tx.execute(note).first()]

"""SQLite's own count of the ids that it gave (`sqlite_sequence`), and what tools do to it.

It decides when that count is wrong. If the count is the greatest number, no event can be written
any more (SQLite reports "database or disk is full"). If the count was deleted, SQLite gives ids
again that are in the history. It must never lower the count below an id that is known anywhere, and
never change the id of an event while a daemon ships.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, text

from shipper.store.db.dialect import ALL_IDS, dialect_of, pick
from shipper.store.db.failures import file_of
from shipper.store.db.transactions import reading, writing
from shipper.store.lease.file_lock import FileLock
from shipper.system.files import followed

# A thousand ids a second for ten thousand years stay below this.
LAST_GOOD = ALL_IDS >> 14

_TABLES = ("shipper_outbox", "shipper_attempt", "shipper_hold")
_COUNT = text("SELECT max(seq) FROM sqlite_sequence WHERE name = :table")
_HIGHEST = {
    "shipper_outbox": text(
        "SELECT max(coalesce((SELECT max(id) FROM shipper_outbox WHERE id <= :last), 0),"
        " coalesce((SELECT max(outbox_id) FROM shipper_attempt WHERE outbox_id <= :last), 0),"
        " coalesce((SELECT max(value) FROM shipper_claim, json_each(ids) WHERE value <= :last), 0))"
    ),
    "shipper_attempt": text("SELECT coalesce(max(id), 0) FROM shipper_attempt WHERE id <= :last"),
    "shipper_hold": text("SELECT coalesce(max(id), 0) FROM shipper_hold WHERE id <= :last"),
}
_BEYOND = {table: text(f"SELECT id FROM {table} WHERE id > :last ORDER BY id") for table in _TABLES}
_IMMUTABLE = text("SELECT sql FROM sqlite_master WHERE name = 'shipper_outbox_immutable'")
_FIX = "stop shipper, then: shipper db upgrade"


def faults(tx: Connection) -> list[str]:
    """Return what is wrong with the counts, a sentence for each fault; none on PostgreSQL."""
    tables = pick(dialect_of(tx), sqlite=_TABLES, postgresql=())
    return [fault for table in tables if (fault := _fault(tx, table))]


def look(engine: Engine) -> list[str]:
    """Do what `faults` does, in a transaction of its own."""
    with reading(engine) as tx:
        return faults(tx)


def fix(engine: Engine) -> list[str]:
    """Correct the counts; return what was done, for a person.

    An event with the greatest number gets the id after the highest other id. No event was written
    after it, so the order stays the same. Raises OutboxHeld while a daemon ships.
    """
    if not look(engine):
        return []
    file = file_of(engine)
    lock = None if file is None else FileLock(followed(file))
    if lock is not None:
        lock.acquire()
    try:
        with writing(engine) as tx:
            return [done for table in _TABLES for done in _fixed(tx, table)]
    finally:
        if lock is not None:
            lock.release()


def raise_count(engine: Engine) -> list[str]:
    """Raise a deleted count to the highest known id; change nothing else.

    Returns what is still wrong, which only `fix` corrects.
    """
    found = look(engine)
    if found:
        with writing(engine) as tx:
            for table in _TABLES:
                highest = _highest(tx, table)
                if _counted(tx, table) < highest:
                    _set(tx, table, highest)
        found = [f"{fault}; {_FIX}" for fault in look(engine)]
    return found


def _fault(tx: Connection, table: str) -> str | None:
    counted, highest = _counted(tx, table), _highest(tx, table)
    if counted > LAST_GOOD or _beyond(tx, table):
        return (
            f"the ids of {table} are at their end (sqlite_sequence says {counted}): no row can be"
            ' written there, and SQLite calls that "database or disk is full"'
        )
    if counted < highest:
        return (
            f"sqlite_sequence says that {table} had {counted} rows, but id {highest} was given:"
            " a tool has emptied it, and ids would be given again"
        )
    return None


def _fixed(tx: Connection, table: str) -> Iterator[str]:
    if _fault(tx, table) is None:
        return
    highest = _highest(tx, table)
    for number in _beyond(tx, table):
        highest += 1
        _move(tx, table, number, highest)
        yield f"row {number} of {table} has id {highest} now"
    _set(tx, table, highest)
    yield f"sqlite_sequence says {highest} for {table} now"


def _move(tx: Connection, table: str, before: int, after: int) -> None:
    """Give a row another id; the history of an event follows, past the trigger that forbids it."""
    if table != "shipper_outbox":
        tx.execute(text(f"UPDATE {table} SET id = :after WHERE id = :before"),
                   {"before": before, "after": after})  # fmt: skip
        return
    # A claim that a crash has left can name the id too; no other number has as many digits.
    tx.execute(text("UPDATE shipper_claim SET ids = replace(ids, :before, :after)"),
               {"before": str(before), "after": str(after)})  # fmt: skip
    trigger: str | None = tx.execute(_IMMUTABLE).scalar()
    if trigger is not None:
        tx.exec_driver_sql("DROP TRIGGER shipper_outbox_immutable")
    for column in ("shipper_outbox SET id", "shipper_attempt SET outbox_id"):
        name = column.rpartition(" ")[2]
        tx.execute(text(f"UPDATE {column} = :after WHERE {name} = :before"),
                   {"before": before, "after": after})  # fmt: skip
    if trigger is not None:
        tx.exec_driver_sql(trigger)


def _counted(tx: Connection, table: str) -> int:
    return int(tx.execute(_COUNT, {"table": table}).scalar() or 0)


def _highest(tx: Connection, table: str) -> int:
    return int(tx.execute(_HIGHEST[table], {"last": LAST_GOOD}).scalar_one())


def _beyond(tx: Connection, table: str) -> list[int]:
    return list(tx.execute(_BEYOND[table], {"last": LAST_GOOD}).scalars())


def _set(tx: Connection, table: str, highest: int) -> None:
    tx.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table})
    tx.execute(
        text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :highest)"),
        {"table": table, "highest": highest},
    )

"""Our tables, indexes and triggers in an SQLite file: whether all of them are there.

Tools copy tables without triggers, make them again without indexes, and empty them. It compares the
file's own list with what the migrations make in an empty database. It must never drop a table or
delete a row: a table that it makes again is empty, or has the rows of a new outbox.
"""

import sqlite3
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from shipper.store.db.transactions import reading, writing
from shipper.store.schema import revisions
from shipper.store.schema.ddl import statements

_OURS = (
    "SELECT type, name, sql FROM sqlite_master WHERE name LIKE 'shipper\\_%' ESCAPE '\\'"
    " AND type IN ('table', 'index', 'trigger') AND sql IS NOT NULL"
    " ORDER BY type = 'trigger', type = 'index', rowid"
)

# Tables whose first row the migrations write, and the condition for that row.
_BEGUN_WITH = {"shipper_insert_guard": "one = 1", "shipper_lease": "name = 'outbox'"}
# Numbers that were given must never be given again.
_NUMBERS = (
    "SELECT (SELECT coalesce(max(delivery_number), 0) FROM shipper_outbox),"
    " (SELECT coalesce(max(number), 0) FROM shipper_claim)"
)
_COUNTED_ON = "UPDATE shipper_lease SET delivery = ?, claim = ? WHERE name = 'outbox'"


class Made(NamedTuple):
    """A table, index or trigger, and the statement that makes it."""

    kind: str
    name: str
    sql: str

    def __str__(self) -> str:
        """Return it for a person."""
        return f"{self.kind} {self.name}"


def missing(engine: Engine) -> list[str]:
    """Return our objects that are missing or changed in an SQLite outbox of this revision."""
    with reading(engine) as tx:
        if revisions.read(tx) != revisions.head():
            return []
        return [str(one) for one in _missing(tx)] + _emptied(tx)


def restore(engine: Engine) -> list[str]:
    """Make again what is missing; return what was done, for a person."""
    if not missing(engine):
        return []
    expected = _expected()
    with reading(engine) as tx:
        made = list(_missing(tx))
        # Read before the write lock is taken: without a lease no daemon ships or changes them.
        numbers = tx.exec_driver_sql(_NUMBERS).one() if _has_no_lease(tx, made) else None
    # All triggers or none: SQLite fires them in the order in which they were made.
    again = any(one.kind == "trigger" for one in made)
    makes = [one for one in expected if one in made or (again and one.kind == "trigger")]
    with writing(engine) as tx:
        for one in makes:
            if one.kind != "index":
                _make(tx, one)
        emptied = _emptied(tx)
        for seed in _seeds():
            tx.exec_driver_sql(seed)
        if numbers is not None:
            tx.exec_driver_sql(_COUNTED_ON, tuple(numbers))
    # Each in its own transaction, because an index can take long.
    for one in makes:
        if one.kind == "index":
            with writing(engine) as tx:
                _make(tx, one)
    names = ", ".join([*map(str, made), *emptied])
    return [f"made again, after a tool had removed or changed it: {names}"]


def _make(tx: Connection, one: Made) -> None:
    if one.kind != "table":
        tx.exec_driver_sql(f"DROP {one.kind} IF EXISTS {one.name}")
    tx.exec_driver_sql(one.sql)


def _has_no_lease(tx: Connection, made: list[Made]) -> bool:
    """Return whether the lease is lost, but not the tables that show its numbers."""
    names = {one.name for one in made if one.kind == "table"}
    lost = "shipper_lease" in names or "the row of shipper_lease" in _emptied(tx)
    return lost and not names & {"shipper_outbox", "shipper_claim"}


def _missing(tx: Connection) -> Iterator[Made]:
    there = {(kind, name): sql for kind, name, sql in tx.exec_driver_sql(_OURS).all()}
    for one in _expected():
        sql = there.get((one.kind, one.name))
        if sql is None or (one.kind != "table" and sql.split() != one.sql.split()):
            yield one


def _emptied(tx: Connection) -> list[str]:
    """Return the tables that have lost their first row."""
    there = {one[1] for one in tx.exec_driver_sql(_OURS).all()}
    return [
        f"the row of {table}"
        for table, row in _BEGUN_WITH.items()
        if table in there
        and not tx.exec_driver_sql(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {row})").scalar()
    ]


@cache
def _expected() -> tuple[Made, ...]:
    """Return what the migrations make, in the order in which it can be made."""
    empty = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for revision in revisions.REVISIONS:
            for statement in statements(revision, "sqlite"):
                empty.execute(statement)
        return tuple(Made(*row) for row in empty.execute(_OURS))
    finally:
        empty.close()


def _seeds() -> list[str]:
    """Return the statements that write the first rows of every outbox."""
    return [
        f"INSERT OR IGNORE INTO {statement[at + len('INSERT INTO ') :]}"
        for revision in revisions.REVISIONS
        for statement in statements(revision, "sqlite")
        if (at := statement.find("INSERT INTO ")) >= 0 and "CREATE" not in statement
    ]

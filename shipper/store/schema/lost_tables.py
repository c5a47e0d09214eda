"""Repairs our tables on a server, and their revision's note, if a tool has dropped or emptied them.

It decides what is missing by the names and columns that the migrations make. It must never drop a
table or change a row: a table that it makes again is empty. `repair` makes what is missing beside a
table (triggers, indexes, first rows); on SQLite `sqlite_objects` makes all of it.
"""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from shipper.errors import SchemaError
from shipper.store.db.dialect import dialect_of
from shipper.store.db.transactions import reading, writing
from shipper.store.schema import revisions
from shipper.store.schema.damage import things
from shipper.store.schema.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Callable


def adopt(engine: Engine, stamp: "Callable[[Connection], None]") -> list[str]:
    """If the note of the revision is lost, have `stamp` write it again; return what was done.

    Raises SchemaError if the tables aren't those of this code: then the revision would be a guess,
    and a migration after a wrong guess could do harm.
    """
    with reading(engine) as tx:
        if revisions.read(tx) is not None or not revisions.has_lost_its_note(tx):
            return []
        strange = _strange(tx)
    if strange:
        raise SchemaError(
            f"{revisions.NOTE_LOST}, and the columns of {', '.join(strange)} are not those of"
            f" revision {revisions.head()}",
            f"restore {revisions.VERSION_TABLE} from a backup; nothing was changed",
        )
    with writing(engine) as tx:
        stamp(tx)
    return [f"made again, after a tool had emptied or dropped it: {revisions.VERSION_TABLE}"]


def restore(engine: Engine) -> list[str]:
    """Make missing tables again, empty; return what was done, for a person."""
    with reading(engine) as tx:
        if not _lost(tx):
            return []
    with writing(engine) as tx:
        dialect_of(engine).one_upgrade_at_a_time(tx)
        gone = _lost(tx)
        for name in gone:
            for statement in things(dialect_of(engine).name).tables[name]:
                tx.exec_driver_sql(statement)
    events = "; the events in it are lost" if "shipper_outbox" in gone else ""
    return [f"made again, empty, after a tool had dropped it: {', '.join(gone)}{events}"]


def _lost(tx: Connection) -> list[str]:
    return [name for name in things(dialect_of(tx).name).tables if not revisions.exists(tx, name)]


def _strange(tx: Connection) -> list[str]:
    """Return the existing tables whose columns differ from this code's."""
    dialect = dialect_of(tx).name
    ours = [t for t in metadata.sorted_tables if t.info.get("only", dialect) == dialect]
    return [
        table.name
        for table in ours
        if revisions.exists(tx, table.name)
        and {*tx.exec_driver_sql(f"SELECT * FROM {table.name} LIMIT 0").keys()}
        != {column.name for column in table.columns if column.info.get("only", dialect) == dialect}
    ]

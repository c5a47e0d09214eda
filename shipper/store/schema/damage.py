"""Whether the outbox's tables are as the migrations made them, judged by the catalog alone.

Tools of the application empty tables, restore them, load them without their triggers and copy them
to other servers. The daemon, `doctor` and `verify` report the damage; `repair` fixes it. It must
never read the history.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from shipper.errors import AccessDenied, SchemaError
from shipper.policy.shares import SHARDS
from shipper.store.db.dialect import dialect_of, pick
from shipper.store.db.postgres.catalog import OURS
from shipper.store.db.snapshot import snapshot
from shipper.store.schema import ddl
from shipper.store.schema.revisions import REVISIONS

_MADE = re.compile(
    r"CREATE (?:OR REPLACE )?(?:UNIQUE )?(TRIGGER|INDEX|FUNCTION) (?:IF NOT EXISTS )?(\w+)"
)
_TABLE = re.compile(r"(?:CREATE TABLE|ALTER TABLE|CREATE SEQUENCE) (\w+)\b(?! ENABLE)")
# A first row is said by the migration itself; other rows are moved from one table to another.
_FIRST_ROW = re.compile(r"INSERT INTO (?!.*\bFROM\b)", re.DOTALL)
_DROPPED = re.compile(r"DROP (TRIGGER|INDEX|FUNCTION) (?:IF EXISTS )?(\w+)")
# It also has to fire when a replica loads rows: without lanes, rows can't be shipped in order.
ALWAYS = "shipper_outbox_write"


class Things(NamedTuple):
    """The statements that make triggers, indexes, functions, tables (by name) and first rows.

    A table has several statements: the one that makes it, and those that have changed it since. A
    sequence that no table owns is among the tables.
    """

    triggers: dict[str, str]
    indexes: dict[str, str]
    functions: dict[str, str]
    rows: tuple[str, ...]
    tables: dict[str, list[str]]


def lease_row(found: Sequence[Any]) -> Any:
    """Return the row of the lease; raises SchemaError if a tool has deleted it."""
    if found and found[0][0] is not None:
        return found[0]
    raise SchemaError("the table shipper_lease was emptied", "run: shipper db upgrade")


def made_of(row: Sequence[Any]) -> dict[str, int]:
    """Return a row of the dialect's `made`, as the parameters of its `last`."""
    return dict(zip(("outbox", "seq", "node"), row, strict=True))


def damage(tx: Connection) -> list[str]:
    """Return what is wrong with the tables, a sentence for each fault; reads only the catalog."""
    if found := policies(tx):
        return found  # rows are hidden, so every other check could be wrong
    return [
        *missing(tx),
        *numbers(tx),
        *(["the table shipper_lease is empty"] if not tx.execute(_LEASE).scalar() else []),
        *_without_shards(tx),
        *emptied(tx),
    ]


@cache
def things(dialect: str) -> Things:
    """Return what the migrations make in a database of this dialect."""
    found: dict[str, dict[str, str]] = {"TRIGGER": {}, "INDEX": {}, "FUNCTION": {}}
    rows, tables = [], dict[str, list[str]]()
    for revision in REVISIONS:
        for block in ddl.statements(revision, dialect):
            statement = "\n".join(line for line in block.splitlines() if not line.startswith("--"))
            if made := _MADE.match(statement):
                found[made[1]].pop(made[2], None)
                found[made[1]][made[2]] = statement
            elif dropped := _DROPPED.match(statement):
                found[dropped[1]].pop(dropped[2], None)
            elif made := _TABLE.match(statement):
                tables.setdefault(made[1], []).append(statement)
            elif _FIRST_ROW.match(statement):
                rows.append(statement)
    return Things(found["TRIGGER"], found["INDEX"], found["FUNCTION"], tuple(rows), tables)


def policies(tx: Connection) -> list[str]:
    """Return a sentence for each table that seems empty: a policy hides its rows from us."""
    hidden = pick(dialect_of(tx), sqlite=None, postgresql=_HIDDEN)
    if hidden is None:
        return []
    return [
        f"row level security hides rows of {name} from shipper's role: nothing of them is sent;"
        f" run: ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY, or ALTER ROLE … BYPASSRLS"
        for name in tx.execute(hidden).scalars()
    ]


def refuse_hidden(engine: Engine) -> None:
    """Raise AccessDenied if policies hide rows from us."""
    with snapshot(engine) as tx:
        if found := policies(tx):
            raise AccessDenied(found[0].partition("; run: ")[0], found[0].partition("; run: ")[2])


def missing(tx: Connection) -> Iterator[str]:
    """Yield a sentence for each trigger and index that is missing or disabled."""
    made, there = things(dialect_of(tx).name), states(tx)
    for name in made.triggers:
        if name not in there:
            yield f"the trigger {name} is missing"
        elif there[name] == "D" or (name == ALWAYS and there[name] != "A"):
            yield f"the trigger {name} is disabled, or doesn't fire for rows that a replica loads"
    for name in made.indexes:
        if name not in there:
            yield f"the index {name} is missing"
        elif there[name] == "invalid":
            yield f"the index {name} is not valid"


def states(tx: Connection) -> dict[str, str]:
    """Return the state of each existing trigger and index, by name; see `Dialect.parts`."""
    return {row.name: row.state for row in tx.execute(text(dialect_of(tx).parts))}


def numbers(tx: Connection) -> Iterator[str]:
    """Yield a sentence if a row already has the next id."""
    # SQLite takes the higher of its sequence and the rows.
    sequence = pick(dialect_of(tx), sqlite=None, postgresql=SEQUENCE)
    if sequence is None:
        return
    row = tx.execute(sequence).one()
    if row.seq is None:
        yield "no sequence gives the ids of shipper_outbox"
    elif row.last < row.highest:
        yield (
            f"the sequence of shipper_outbox is at {row.last}, and there is a row {row.highest}:"
            " an INSERT of the application fails until it has caught up"
        )


def _without_shards(tx: Connection) -> Iterator[str]:
    """Yield a sentence if a tool has deleted shards: no daemon sends their events."""
    lacks = pick(dialect_of(tx), sqlite=None, postgresql=_LACKS_SHARDS)
    if lacks is not None and tx.execute(lacks).scalar():
        yield "the table shipper_shard lacks rows"


def emptied(tx: Connection) -> Iterator[str]:
    """Yield a sentence if every event was deleted, also those that are counted as ended."""
    counted = tx.execute(text(_COUNTED.format(dialect_of(tx).counters))).scalar()
    if counted:
        told = f"{counted} events are counted as ended: which tool emptied it?"
        yield f"shipper_outbox is empty, but {told}"


# -- statements -----------------------------------------------------------------------------------

# Also if a pooler didn't pass on our setting, which makes hidden rows an error.
_HIDDEN = text(
    f"SELECT CAST(oid AS regclass) FROM pg_class WHERE {OURS} AND row_security_active(oid)"
    " ORDER BY relname"
)
_LEASE = text("SELECT EXISTS (SELECT 1 FROM shipper_lease WHERE name = 'outbox')")
SEQUENCE = text(
    "SELECT seq, coalesce(pg_sequence_last_value(CAST(seq AS regclass)), 0) AS last, highest"
    " FROM (SELECT pg_get_serial_sequence('shipper_outbox', 'id') AS seq,"
    " coalesce((SELECT max(id) FROM shipper_outbox), 0) AS highest OFFSET 0) AS given"
)
_LACKS_SHARDS = text(f"SELECT count(*) < {SHARDS} FROM shipper_shard")
_COUNTED = (
    "SELECT coalesce(sum(delivered + dead + discarded), 0) FROM {0}"
    " WHERE NOT EXISTS (SELECT 1 FROM shipper_outbox)"
)

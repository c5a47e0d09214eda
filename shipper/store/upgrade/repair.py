"""Restores the outbox to what the migrations made, after a tool has damaged it.

It fixes what `damage` finds, and what only reading every row shows. It must never touch a payload,
an event that has ended, or an object that isn't ours, and never make an application wait for more
than a moment.
"""

from functools import partial

from sqlalchemy import Connection, Engine, TextClause, text

from shipper.store.db.batches import Batches
from shipper.store.db.dialect import POSTGRES, SQLITE, dialect_of, pick
from shipper.store.db.paging import matching
from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import reading, writing
from shipper.store.lease.membership import begin_again
from shipper.store.schema import indexes, locks
from shipper.store.schema.damage import ALWAYS, SEQUENCE, damage, missing, numbers, states, things
from shipper.store.upgrade import last_numbers
from shipper.store.upgrade.recount import is_needed, recount


def needed(engine: Engine) -> bool:
    """Return whether `repair` has something to do; reads every row, and changes none."""
    with snapshot(engine) as tx:
        dialect_of(tx).as_long_as_it_takes(tx)
        if (
            bool(damage(tx))
            or bool(tx.execute(text(_KEYLESS)).scalar())
            or bool(tx.execute(text(_HAS_ENDED)).scalar())
            or bool(tx.execute(_top(tx, _PURGED_TOO_MANY)).scalar())
            or last_numbers.is_behind(tx)
        ):
            return True
    return is_needed(engine)


def repair(engine: Engine) -> list[str]:
    """Fix what `damage` finds, and what only reading every row shows; return what was wrong.

    Making triggers and functions again takes a moment. The search for rows runs while the
    application writes, and rows are changed in batches. Only SQLite builds a missing index in one
    piece, while the application waits.
    """
    dialect = dialect_of(engine)
    with reading(engine) as tx:
        done, damaged = [*missing(tx), *numbers(tx)], bool(damage(tx))
        indexes_wanted = [*things(dialect.name).indexes.values()]
    if damaged:
        if dialect.builds_indexes_beside:
            indexes.build(engine, indexes_wanted)
        done += locks.briefly(engine, _make)
    return [
        *done,
        *_counted(last_numbers.catch_up(engine), "last numbers were behind those of the rows"),
        *_counted(_take_marks(engine), "pending events had the mark of an end"),
        *_counted(_derive(engine), "pending events had no key or lane, written past the triggers"),
        *_counted(recount(engine), "destinations had counters that were off"),
        *_counted(
            _forget_purged(engine), "destinations counted deletions from before the ids began again"
        ),
    ]


def _make(tx: Connection) -> list[str]:
    dialect_of(tx).as_long_as_it_takes(tx)
    _remake(tx)
    _renumber(tx)
    made = [
        statement.split()[2]
        for statement in things(dialect_of(tx).name).rows
        if tx.execute(text(f"{statement.rstrip(';')} ON CONFLICT DO NOTHING")).rowcount
    ]
    if "shipper_shard" in made:
        begin_again(tx)
    return [f"the table {name} was empty" for name in made]


def _top(tx: Connection, statement: str) -> TextClause:
    """Return a statement with {top} replaced by the highest id given so far."""
    dialect = dialect_of(tx)
    return text(statement.replace("{top}", f"(SELECT {dialect.top})"))


# -- triggers and indexes -------------------------------------------------------------------------


def _remake(tx: Connection) -> None:
    dialect = dialect_of(tx)
    made, there = things(dialect.name), states(tx)
    for statement in made.functions.values():
        replaced = statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
        tx.exec_driver_sql(replaced)
    if not made.triggers.keys() <= there.keys():
        # All of them, because SQLite fires them in the order in which they were made.
        for name, statement in made.triggers.items():
            tx.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{dialect.of_outbox}")
            tx.exec_driver_sql(statement)
    for name, statement in made.indexes.items():
        if there.get(name) == "invalid":
            tx.exec_driver_sql(f"DROP INDEX {name}")
        if there.get(name, "invalid") == "invalid":
            tx.exec_driver_sql(statement)
    for name, state in states(tx).items():
        if name in made.triggers:
            _enable(tx, name, state)


def _enable(tx: Connection, name: str, state: str) -> None:
    """Enable a trigger that a tool has disabled; on SQLite a trigger is always `valid`."""
    if state == "valid":
        return
    if name == ALWAYS and state != "A":
        tx.exec_driver_sql(f"ALTER TABLE shipper_outbox ENABLE ALWAYS TRIGGER {name}")
    elif state not in {"O", "A"}:
        tx.exec_driver_sql(f"ALTER TABLE shipper_outbox ENABLE TRIGGER {name}")


# -- numbers --------------------------------------------------------------------------------------


def _renumber(tx: Connection) -> None:
    sequence = pick(dialect_of(tx), sqlite=None, postgresql=SEQUENCE)
    if sequence is None:
        return
    row = tx.execute(sequence).one()
    if row.seq is None:
        tx.exec_driver_sql(
            "ALTER TABLE shipper_outbox ALTER COLUMN id DROP DEFAULT,"
            " ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (CACHE 1)"
        )
        row = tx.execute(sequence).one()
    if row.last < row.highest:
        tx.execute(text("SELECT setval(:seq, :highest)"), {"seq": row.seq, "highest": row.highest})


# -- rows -----------------------------------------------------------------------------------------


def _take_marks(engine: Engine) -> int:
    """Remove the marks of an end from pending events."""
    dialect, batches, done = dialect_of(engine), Batches(), 0
    statement = text(
        f"UPDATE shipper_outbox{dialect.by_id} SET delivered_at = NULL, delivery_number = NULL"
        f" WHERE id IN {dialect.ids} AND {_ENDS}"
    )
    for ids in batches.cut(matching(engine, dialect, _ENDS, {})):
        with batches.timing(len(ids)), writing(engine) as tx:
            done += tx.execute(statement, {"ids": dialect.bind_ids(ids)}).rowcount
    return done


def _forget_purged(engine: Engine) -> int:
    with reading(engine) as tx:
        dialect_of(tx).as_long_as_it_takes(tx)
        if not tx.execute(_top(tx, _PURGED_TOO_MANY)).scalar():
            return 0
        seen = tx.execute(text(_PURGED)).all()
    with writing(engine) as tx:  # what was deleted since stays counted
        for name, purged in seen:
            tx.execute(text(_LOWER_PURGED), {"name": name, "purged": purged})
    return len(seen)


def _derive(engine: Engine) -> int:
    """Give keys and lanes to pending events that were written past the triggers."""
    dialect = dialect_of(engine)
    derive = pick(dialect, sqlite=_derive_sqlite, postgresql=_derive_postgres)
    batches, changed = Batches(), 0
    for ids in batches.cut(matching(engine, dialect, _WITHOUT, {})):
        with batches.timing(len(ids)):
            changed += derive(engine, ids)
    return changed


def _derive_sqlite(engine: Engine, ids: list[int]) -> int:
    these = {"ids": SQLITE.bind_ids(ids)}
    keyless = text(f"SELECT count(*) FROM shipper_outbox WHERE {_WITHOUT} AND id IN {SQLITE.ids}")
    with writing(engine) as tx:
        before = tx.execute(keyless, these).scalar_one()
        for name in ("shipper_outbox_default", "shipper_outbox_derive"):
            update = f"{_for_rows(things(SQLITE.name).triggers[name])} AND id IN {SQLITE.ids}"
            tx.exec_driver_sql(update, these)
        return int(before - tx.execute(keyless, these).scalar_one())


def _derive_postgres(engine: Engine, ids: list[int]) -> int:
    with writing(engine) as tx:
        if not _copy_differs(tx, ids):
            return 0
    # The change needs the trigger off, so no session is allowed to write meanwhile.
    return locks.briefly(engine, partial(_derive_alone, ids=ids), tables=("lease", "outbox"))


def _derive_alone(tx: Connection, ids: list[int]) -> int:
    changed = 0
    if _copy_differs(tx, ids):
        tx.exec_driver_sql("ALTER TABLE shipper_outbox DISABLE TRIGGER shipper_outbox_immutable")
        changed = tx.exec_driver_sql(_AS_THE_COPY).rowcount
        tx.exec_driver_sql("ALTER TABLE shipper_outbox ENABLE TRIGGER shipper_outbox_immutable")
    return changed


def _copy_differs(tx: Connection, ids: list[int]) -> bool:
    """Copy events into a table of this session, past the trigger; return whether any differs."""
    if tx.exec_driver_sql("SELECT to_regclass('pg_temp.shipper_written_past')").scalar() is None:
        for statement in _MAKE_COPY:
            tx.exec_driver_sql(statement)
    tx.execute(text(_COPY), {"ids": POSTGRES.bind_ids(ids)})
    return bool(tx.exec_driver_sql(f"SELECT EXISTS (SELECT 1 FROM {_DIFFERENT})").scalar())


def _for_rows(trigger: str) -> str:
    """Return a trigger's UPDATE as an UPDATE of all pending rows that it would have changed."""
    condition, _, action = trigger.partition("\nBEGIN\n")
    condition = condition.partition("WHEN ")[2].replace("NEW.", "shipper_outbox.")
    update = action.rpartition("END;")[0].strip().rstrip(";").replace("NEW.", "shipper_outbox.")
    update, _, _ = update.rpartition("WHERE id = shipper_outbox.id")
    return f"{update} WHERE status = 'pending' AND ({condition})"


def _counted(count: int, what: str) -> list[str]:
    return [f"{what}: {count}"] if count else []


# -- statements -----------------------------------------------------------------------------------

_WITHOUT = (
    "status = 'pending' AND (coalesce(ordering_key, '') = ''"
    " OR coalesce(destination, '') = '' OR coalesce(event_id, '') = '')"
)
_KEYLESS = f"SELECT EXISTS (SELECT 1 FROM shipper_outbox WHERE {_WITHOUT})"
# They were made pending again by hand.
_ENDS = "status = 'pending' AND (delivered_at IS NOT NULL OR delivery_number IS NOT NULL)"
_HAS_ENDED = f"SELECT EXISTS (SELECT 1 FROM shipper_outbox WHERE {_ENDS})"
# The trigger, applied to a copy, says what the columns should be.
_MAKE_COPY = (
    (
        "CREATE TEMPORARY TABLE shipper_written_past (LIKE shipper_outbox INCLUDING DEFAULTS)"
        " ON COMMIT DELETE ROWS"
    ),
    "ALTER TABLE shipper_written_past ALTER COLUMN slot DROP NOT NULL",
    (
        "CREATE TRIGGER written_past BEFORE INSERT ON shipper_written_past"
        " FOR EACH ROW EXECUTE FUNCTION shipper_outbox_write()"
    ),
    "ALTER TABLE shipper_written_past ENABLE ALWAYS TRIGGER written_past",
)
_COPY = (
    "INSERT INTO shipper_written_past (tx, id, destination, ordering_key, event_id, created_at,"
    " status, attempts, maybe_received, manual, slot, payload)"
    " SELECT tx, id, destination, ordering_key, event_id, created_at, status, attempts,"
    f" maybe_received, manual, slot, payload FROM shipper_outbox WHERE {_WITHOUT}"
    f" AND id IN {POSTGRES.ids}"
)
_DIFFERENT = (
    "shipper_written_past AS p JOIN shipper_outbox AS q USING (id) WHERE"
    " (q.destination, q.ordering_key, q.event_id, q.lane, q.slot)"
    " IS DISTINCT FROM (p.destination, p.ordering_key, p.event_id, p.lane, p.slot)"
)
_AS_THE_COPY = (
    "UPDATE shipper_outbox AS o SET destination = p.destination, ordering_key = p.ordering_key,"
    f" event_id = p.event_id, lane = p.lane, slot = p.slot FROM {_DIFFERENT} AND p.id = o.id"
)
_PURGED = "SELECT name, purged FROM shipper_destination WHERE purged > 0"
_LOWER_PURGED = (
    "UPDATE shipper_destination SET purged = CASE WHEN purged < :purged THEN 0"
    " ELSE purged - :purged END WHERE name = :name"
)
_PURGED_TOO_MANY = (
    "SELECT coalesce(sum(purged), 0) > 0 AND coalesce(sum(purged), 0)"
    " + (SELECT count(*) FROM shipper_outbox) > {top} FROM shipper_destination"
)

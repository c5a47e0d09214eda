"""How the outbox is made again what the migrations made, whatever a tool has done to it.

What is wrong is `damage`'s to tell, and what only reading every row shows. It must never touch a
payload, an event that has ended, or what isn't ours.
"""

from sqlalchemy import Connection, TextClause, text

from shipper.store.damage import ALWAYS, SEQUENCE, THERE, damage, missing, numbers, things
from shipper.store.dialect import POSTGRES, dialect_of
from shipper.store.turns import fold_all


def needed(tx: Connection) -> bool:
    """Return whether `repair` may have something to do; reads every row, and changes none."""
    return (
        bool(damage(tx))
        or bool(tx.execute(text(_OFF.format(dialect_of(tx.dialect.name).counters))).scalar())
        or bool(tx.execute(text(_KEYLESS)).scalar())
        or bool(tx.execute(text(_HAS_ENDED)).scalar())
        or bool(tx.execute(_top(tx, _PURGED_TOO_MANY)).scalar())
        or bool(tx.execute(text(_BEHIND[tx.dialect.name])).scalar())
    )


def repair(tx: Connection) -> list[str]:
    """Mend what `damage` finds, and what only reading every row shows; returns what was wrong.

    It waits for the daemon's present turn and holds up the next.
    """
    done = [*missing(tx), *numbers(tx)]
    _remake(tx)
    _renumber(tx)
    done += [
        f"the table {statement.split()[2]} was empty"
        for statement in things(tx.dialect.name).rows
        if tx.execute(text(f"{statement.rstrip(';')} ON CONFLICT DO NOTHING")).rowcount
    ]
    tx.execute(text(_LOCKED[tx.dialect.name]))
    fold_all(tx)
    done += _told(_catch_up(tx), "numbers of the last turn were behind")
    done += _told(tx.execute(text(_NOT_ENDED)).rowcount, "pending events had the mark of an end")
    done += _derive(tx)
    tx.execute(text(_KNOWN))
    done += _told(tx.execute(text(_RECOUNT)).rowcount, "destinations had counters that were off")
    reset = tx.execute(
        _top(tx, f"UPDATE shipper_destination SET purged = 0 WHERE ({_PURGED_TOO_MANY})")
    )
    done += _told(reset.rowcount, "destinations counted what was deleted before ids began anew")
    return done


def _top(tx: Connection, statement: str) -> TextClause:
    """Return a statement with the highest id that there was in the place of {top}."""
    dialect = dialect_of(tx.dialect.name)
    return text(statement.replace("{top}", f"(SELECT {dialect.top})"))


# -- triggers and indexes -------------------------------------------------------------------------


def _remake(tx: Connection) -> None:
    made, there = things(tx.dialect.name), _there(tx)
    if tx.dialect.name == "postgresql":
        for statement in made.functions.values():
            replaced = statement.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
            tx.exec_driver_sql(replaced)
    if not made.triggers.keys() <= there.keys():
        on = " ON shipper_outbox" if tx.dialect.name == "postgresql" else ""
        # All of them, because SQLite fires them in the order in which they were made.
        for name, statement in made.triggers.items():
            tx.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{on}")
            tx.exec_driver_sql(statement)
    for name, statement in made.indexes.items():
        if there.get(name) == "invalid":
            tx.exec_driver_sql(f"DROP INDEX {name}")
        if there.get(name, "invalid") == "invalid":
            tx.exec_driver_sql(statement)
    if tx.dialect.name == "postgresql":
        _enable(tx)


def _enable(tx: Connection) -> None:
    there = _there(tx)
    for name in things("postgresql").triggers:
        if name == ALWAYS and there[name] != "A":
            tx.exec_driver_sql(f"ALTER TABLE shipper_outbox ENABLE ALWAYS TRIGGER {name}")
        elif there[name] not in {"O", "A"}:
            tx.exec_driver_sql(f"ALTER TABLE shipper_outbox ENABLE TRIGGER {name}")


def _there(tx: Connection) -> dict[str, str]:
    """Return the state of each trigger and index that there is."""
    return {row.name: row.state for row in tx.execute(text(THERE[tx.dialect.name]))}


# -- numbers --------------------------------------------------------------------------------------


def _renumber(tx: Connection) -> None:
    if tx.dialect.name != "postgresql":
        return
    row = tx.execute(text(SEQUENCE)).one()
    if row.seq is None:
        tx.exec_driver_sql(
            "ALTER TABLE shipper_outbox ALTER COLUMN id DROP DEFAULT,"
            " ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (CACHE 1)"
        )
        row = tx.execute(text(SEQUENCE)).one()
    if row.last < row.highest:
        tx.execute(text("SELECT setval(:seq, :highest)"), {"seq": row.seq, "highest": row.highest})


def _catch_up(tx: Connection) -> int:
    """Raise numbers that were given, and stand in rows, beyond what the last turn knows."""
    behind = tx.execute(text(_ADVANCE[tx.dialect.name])).rowcount
    if behind and tx.dialect.name == "postgresql":
        tx.exec_driver_sql("UPDATE shipper_lease SET token = token + 1 WHERE name = 'outbox'")
    return behind


# -- rows -----------------------------------------------------------------------------------------


def _derive(tx: Connection) -> list[str]:
    """Give keys and lanes to pending events that were written past the triggers."""
    if tx.dialect.name == "postgresql":
        changed = _derive_postgres(tx)
    else:
        before = tx.execute(text(_COUNT_KEYLESS)).scalar_one()
        for name in ("shipper_outbox_default", "shipper_outbox_derive"):
            tx.exec_driver_sql(_for_rows(things("sqlite").triggers[name]))
        changed = before - tx.execute(text(_COUNT_KEYLESS)).scalar_one()
    return _told(changed, "pending events had no key or lane, written past the triggers")


def _derive_postgres(tx: Connection) -> int:
    for statement in _COPY_PENDING:
        tx.exec_driver_sql(statement)
    changed = 0
    if tx.exec_driver_sql(f"SELECT EXISTS (SELECT 1 FROM {_DIFFERENT})").scalar():
        tx.exec_driver_sql("ALTER TABLE shipper_outbox DISABLE TRIGGER shipper_outbox_immutable")
        changed = tx.exec_driver_sql(_AS_THE_COPY).rowcount
        tx.exec_driver_sql("ALTER TABLE shipper_outbox ENABLE TRIGGER shipper_outbox_immutable")
    tx.exec_driver_sql("DROP TABLE shipper_written_past")
    return changed


def _for_rows(trigger: str) -> str:
    """Return the UPDATE in a trigger as one of all pending rows that it would have changed."""
    condition, _, action = trigger.partition("\nBEGIN\n")
    condition = condition.partition("WHEN ")[2].replace("NEW.", "shipper_outbox.")
    update = action.rpartition("END;")[0].strip().rstrip(";").replace("NEW.", "shipper_outbox.")
    update, _, _ = update.rpartition("WHERE id = shipper_outbox.id")
    return f"{update} WHERE status = 'pending' AND ({condition})"


def _told(count: int, told: str) -> list[str]:
    return [f"{told}: {count}"] if count else []


# -- statements -----------------------------------------------------------------------------------

# The row that every turn of the daemon begins with.
_LOCKED = {
    "sqlite": "SELECT 1 FROM shipper_lease WHERE name = 'outbox'",
    "postgresql": "SELECT 1 FROM shipper_lease WHERE name = 'outbox' FOR UPDATE",
}
_GIVEN_NUMBERS = (
    ("delivery", "SELECT coalesce(max(delivery_number), 0) FROM shipper_outbox"),
    ("claim", "SELECT coalesce(max(number), 0) FROM shipper_claim"),
)
_OF_LEASE = "WHERE name = 'outbox' AND ({})".format(
    " OR ".join(f"{name} < ({query})" for name, query in _GIVEN_NUMBERS)
)
_OF_TURN = " OR ".join(
    f"coalesce((SELECT {name} FROM {POSTGRES.books}), -1) < ({query})"
    for name, query in _GIVEN_NUMBERS
)
_BEHIND = {
    "sqlite": f"SELECT EXISTS (SELECT 1 FROM shipper_lease {_OF_LEASE})",
    "postgresql": f"SELECT {_OF_TURN}",
}
_ADVANCE = {
    "sqlite": "UPDATE shipper_lease SET "
    + ", ".join(f"{n} = CASE WHEN {n} < ({q}) THEN ({q}) ELSE {n} END" for n, q in _GIVEN_NUMBERS)
    + f" {_OF_LEASE}",
    # A daemon that runs finds its place taken, and begins anew.
    "postgresql": (
        "INSERT INTO shipper_turn (turn, token, claim, delivery, settled) SELECT"
        " coalesce(turn, 0) + 1, l.token + 1, greatest(coalesce(claim, 0), (SELECT"
        " coalesce(max(number), 0) FROM shipper_claim)), greatest(coalesce(delivery, 0), (SELECT"
        " coalesce(max(delivery_number), 0) FROM shipper_outbox)), coalesce(settled, 0)"
        f" FROM shipper_lease AS l LEFT JOIN {POSTGRES.books} ON true"
        f" WHERE l.name = 'outbox' AND ({_OF_TURN})"
    ),
}
_WITHOUT = (
    " FROM shipper_outbox WHERE status = 'pending' AND (coalesce(ordering_key, '') = ''"
    " OR coalesce(destination, '') = '' OR coalesce(event_id, '') = '')"
)
# Somebody has made them pending again by hand.
_ENDS = "status = 'pending' AND (delivered_at IS NOT NULL OR delivery_number IS NOT NULL)"
_HAS_ENDED = f"SELECT EXISTS (SELECT 1 FROM shipper_outbox WHERE {_ENDS})"
_NOT_ENDED = f"UPDATE shipper_outbox SET delivered_at = NULL, delivery_number = NULL WHERE {_ENDS}"
_KEYLESS = f"SELECT EXISTS (SELECT 1{_WITHOUT})"
_COUNT_KEYLESS = f"SELECT count(*){_WITHOUT}"
# The trigger itself says what they should be, of a copy.
_COPY_PENDING = (
    (
        "CREATE TEMPORARY TABLE shipper_written_past (LIKE shipper_outbox INCLUDING DEFAULTS)"
        " ON COMMIT DROP"
    ),
    "ALTER TABLE shipper_written_past ALTER COLUMN slot DROP NOT NULL",
    (
        "CREATE TRIGGER written_past BEFORE INSERT ON shipper_written_past"
        " FOR EACH ROW EXECUTE FUNCTION shipper_outbox_write()"
    ),
    "ALTER TABLE shipper_written_past ENABLE ALWAYS TRIGGER written_past",
    (
        "INSERT INTO shipper_written_past (tx, id, destination, ordering_key, event_id, created_at,"
        " status, attempts, maybe_received, manual, slot, payload)"
        " SELECT tx, id, destination, ordering_key, event_id, created_at, status, attempts,"
        f" maybe_received, manual, slot, payload{_WITHOUT}"
    ),
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
_ENDED = ("delivered", "dead", "discarded")
_KNOWN = (
    "INSERT INTO shipper_destination (name) SELECT DISTINCT destination FROM shipper_outbox"
    " WHERE status <> 'pending' ON CONFLICT DO NOTHING"
)
_COUNTS = ", ".join(f"count(CASE status WHEN '{name}' THEN 1 END) AS {name}" for name in _ENDED)
_FOUND = (
    "(SELECT d.name AS of_name, "
    + ", ".join(f"coalesce(c.{name}, 0) AS now_{name}" for name in _ENDED)
    + " FROM shipper_destination AS d LEFT JOIN"
    f" (SELECT destination, {_COUNTS} FROM shipper_outbox GROUP BY destination) AS c"
    " ON c.destination = d.name) AS found WHERE of_name = shipper_destination.name AND ("
    + " OR ".join(f"{name} <> now_{name}" for name in _ENDED)
    + ")"
)
_RECOUNT = (
    "UPDATE shipper_destination SET "
    + ", ".join(f"{name} = now_{name}" for name in _ENDED)
    + f" FROM {_FOUND}"
)
_OFF = (
    f"SELECT EXISTS (SELECT 1 FROM {{0}}, {_FOUND})"
    " OR EXISTS (SELECT 1 FROM shipper_outbox WHERE status <> 'pending'"
    " AND destination NOT IN (SELECT name FROM shipper_destination))"
)
_PURGED_TOO_MANY = (
    "SELECT coalesce(sum(purged), 0) > 0 AND coalesce(sum(purged), 0)"
    " + (SELECT count(*) FROM shipper_outbox) > {top} FROM shipper_destination"
)

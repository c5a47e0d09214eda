"""How an operator stops keys and destinations, and lets them go on.

It decides who holds a key: the operator's hold replaces the hold by a dead letter, and a release
ends either. A running daemon notices each command (see `bookkeeping`).

It must never change an event.
"""

from sqlalchemy import Engine, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import asked, shown, written
from shipper.store.db.transactions import writing
from shipper.store.operate.bookkeeping import ask_daemons, notify, touch_held


def hold_key(engine: Engine, destination: str, key: str, now: float) -> bool:
    """Hold a key of a destination until it is released; return False if an operator held it before.

    If a dead letter holds the key, the operator's hold takes its place.
    """
    dialect = dialect_of(engine)
    values = {
        "destination": asked(dialect, destination),
        "key": asked(dialect, key),
        "now": dialect.bind_time(now),
    }
    with writing(engine) as tx:
        notify(tx)
        cause = tx.execute(_HELD_BY, values).scalar()
        if cause != "operator":
            tx.execute(_hold(dialect) if cause is None else _take_over(dialect), values)
    return cause != "operator"


def release_key(engine: Engine, key: str, destination: str | None = None) -> list[str]:
    """Release a key, whatever holds it; return the destinations where it was held.

    Without `destination`, release it at all of them. The daemon probes the links of these
    destinations.
    """
    dialect = dialect_of(engine)
    condition, values = Selection(key=key, destination=destination).where(dialect)
    with writing(engine) as tx:
        notify(tx)
        name = written(dialect, "destination")
        held = text(f"SELECT {name} FROM shipper_hold WHERE {condition} ORDER BY destination")
        found = list(tx.execute(held, values).scalars())
        touch_held(tx, condition, values)
        tx.execute(text(f"DELETE FROM shipper_hold WHERE {condition}"), values)
        for place in found:
            tx.execute(_GO_ON, {"name": place})
    return [shown(place) for place in found]


def hold_destination(engine: Engine, name: str, now: float) -> bool:
    """Hold a destination until it is released; return False if it was held before."""
    return _set_held(engine, name, now, held=1)


def release_destination(engine: Engine, name: str, now: float) -> bool:
    """Release a destination and have its link probed at once; return False if it wasn't held."""
    return _set_held(engine, name, now, held=0)


def _set_held(engine: Engine, name: str, now: float, *, held: int) -> bool:
    dialect = dialect_of(engine)
    values = {"name": asked(dialect, name), "held": held, "now": dialect.bind_time(now)}
    with writing(engine) as tx:
        # An operator who changed rows by hand (SQL) releases the destination.
        ask_daemons(tx, of_all=not held)
        tx.execute(_ADD_DESTINATION if held else _GO_ON, values)
        return tx.execute(_set_held_statement(dialect), values).rowcount == 1


# -- statements ---------------------------------------------------------------------------------


def _hold(dialect: Dialect) -> TextClause:
    return text(
        "INSERT INTO shipper_hold (destination, ordering_key, cause, since) VALUES"
        " (CAST(:destination AS text), CAST(:key AS text), 'operator',"
        f" {dialect.time.format('now')})"
    )


def _take_over(dialect: Dialect) -> TextClause:
    return text(
        f"UPDATE shipper_hold SET cause = 'operator', since = {dialect.time.format('now')}"
        f" WHERE {_OF_KEY}"
    )


def _set_held_statement(dialect: Dialect) -> TextClause:
    now = dialect.time.format("now")
    return text(
        # Without updated_at: from that time the daemon measures the rest of a pause.
        f"UPDATE shipper_destination SET held = :held, since = {now}"
        " WHERE name = CAST(:name AS text) AND held <> :held"
    )


_OF_KEY = "destination = CAST(:destination AS text) AND ordering_key = CAST(:key AS text)"
_HELD_BY = text(f"SELECT cause FROM shipper_hold WHERE {_OF_KEY}")
_ADD_DESTINATION = text(
    "INSERT INTO shipper_destination (name) VALUES (CAST(:name AS text)) ON CONFLICT DO NOTHING"
)
# The daemon notices `releases` also if nothing was held: it probes the link. A daemon that starts
# later finds no pause that it would have to keep.
_GO_ON = text(
    "UPDATE shipper_destination SET releases = releases + 1,"
    " next_try_at = CASE WHEN state = 'throttled' THEN NULL ELSE next_try_at END"
    " WHERE name = CAST(:name AS text)"
)

"""What to do where the last turn's numbers are lower than some that were given before.

A tool that puts back one table and not the others has set them back, and they would be given again.
It must never find that of a sound outbox while a daemon turns: to be put right, that one loses its
place.
"""

from sqlalchemy import Connection, Engine, text

from shipper.store.db.dialect import POSTGRES, SQLITE
from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import writing


def is_behind(tx: Connection) -> bool:
    """Return whether numbers were given, and stand in rows, that the last turn doesn't know.

    All has to be one view of the data: the highest number is looked for in every row, and a daemon
    goes on meanwhile.
    """
    return _are_less(tx, _given(tx))


def catch_up(engine: Engine) -> int:
    """Raise the numbers of the last turn to those that were given; return how many turns that took.

    A daemon that runs then finds its place taken, and begins anew.
    """
    with snapshot(engine) as tx:
        if tx.dialect.name == "postgresql":
            tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
        given = _given(tx)
        if not _are_less(tx, given):
            return 0
    with writing(engine) as tx:
        # What the next statement sees is of after the wait for a turn, or for who does the same.
        tx.execute(text(_LOCK[tx.dialect.name]))
        if not _are_less(tx, given):
            return 0
        return tx.execute(text(_ADVANCE[tx.dialect.name]), given).rowcount


def _are_less(tx: Connection, given: dict[str, int]) -> bool:
    there = tx.execute(text(_NUMBERS[tx.dialect.name])).one_or_none()
    if there is None:  # on SQLite it went with the lease, whose row is made again before
        return tx.dialect.name == "postgresql"
    return any(getattr(there, name) < number for name, number in given.items())


def _given(tx: Connection) -> dict[str, int]:
    return {name: int(tx.execute(text(query)).scalar_one()) for name, query in _GIVEN}


# -- statements -----------------------------------------------------------------------------------

_GIVEN = (
    ("delivery", "SELECT coalesce(max(delivery_number), 0) FROM shipper_outbox"),
    ("claim", "SELECT coalesce(max(number), 0) FROM shipper_claim"),
)
# They are the lease's on SQLite, and a row's of its own on PostgreSQL.
_NUMBERS = {
    "sqlite": f"SELECT delivery, claim FROM {SQLITE.books}",
    "postgresql": f"SELECT delivery, claim FROM {POSTGRES.books}",
}
# Who turns has it locked; SQLite locks all that there is.
_LEASE = "SELECT token FROM shipper_lease WHERE name = 'outbox'"
_LOCK = {"sqlite": _LEASE, "postgresql": f"{_LEASE} FOR UPDATE"}
_ADVANCE = {
    "sqlite": (
        "UPDATE shipper_lease SET delivery = max(delivery, :delivery), claim = max(claim, :claim)"
        " WHERE name = 'outbox'"
    ),
    "postgresql": (
        "WITH ended AS (UPDATE shipper_lease SET token = token + 1 WHERE name = 'outbox'"
        " RETURNING token) INSERT INTO shipper_turn (turn, token, claim, delivery, settled)"
        " SELECT coalesce(turn, 0) + 1, ended.token, greatest(coalesce(claim, 0), :claim),"
        " greatest(coalesce(delivery, 0), :delivery), coalesce(settled, 0)"
        f" FROM ended LEFT JOIN {POSTGRES.books} ON true"
    ),
}

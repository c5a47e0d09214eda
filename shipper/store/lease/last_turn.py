"""What to do if the last turn's numbers are lower than numbers that were given before.

A tool that restores one table and not the others sets the numbers back, and the daemon would give
them again. This module must never report that for a sound outbox while a daemon writes turns,
because the repair takes the lease from that daemon.
"""

from sqlalchemy import Connection, Engine, text

from shipper.store.db.dialect import POSTGRES, dialect_of, pick
from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import writing


def is_behind(tx: Connection) -> bool:
    """Return whether rows have numbers that are greater than those of the last turn.

    The transaction needs one view of the data, because the search reads every row while a daemon
    writes.
    """
    return _are_less(tx, _given(tx))


def catch_up(engine: Engine) -> int:
    """Raise the last turn's numbers to those in the rows; return how many turns that took.

    A running daemon then finds that its next turn exists already, and begins again.
    """
    with snapshot(engine) as tx:
        dialect_of(engine).as_long_as_it_takes(tx)
        given = _given(tx)
        if not _are_less(tx, given):
            return 0
    with writing(engine) as tx:
        # The next statement sees what a turn or another `catch_up` has written in the meantime.
        dialect_of(engine).lock_lease(tx)
        if not _are_less(tx, given):
            return 0
        return tx.execute(
            pick(dialect_of(engine), sqlite=_RAISE, postgresql=_ADD_TURN), given
        ).rowcount


def _are_less(tx: Connection, given: dict[str, int]) -> bool:
    dialect = dialect_of(tx)
    there = tx.execute(text(f"SELECT delivery, claim FROM {dialect.books}")).one_or_none()
    if there is None:  # in a file it went with the lease, whose row is made again before
        return not dialect.is_file
    return any(getattr(there, name) < number for name, number in given.items())


def _given(tx: Connection) -> dict[str, int]:
    return {name: int(tx.execute(text(query)).scalar_one()) for name, query in _GIVEN}


# -- statements -----------------------------------------------------------------------------------

_GIVEN = (
    ("delivery", "SELECT coalesce(max(delivery_number), 0) FROM shipper_outbox"),
    ("claim", "SELECT coalesce(max(number), 0) FROM shipper_claim"),
)
_RAISE = text(
    "UPDATE shipper_lease SET delivery = max(delivery, :delivery), claim = max(claim, :claim)"
    " WHERE name = 'outbox'"
)
_ADD_TURN = text(
    "WITH ended AS (UPDATE shipper_lease SET token = token + 1 WHERE name = 'outbox'"
    " RETURNING token) INSERT INTO shipper_turn (turn, token, claim, delivery, settled)"
    " SELECT coalesce(turn, 0) + 1, ended.token, greatest(coalesce(claim, 0), :claim),"
    " greatest(coalesce(delivery, 0), :delivery), coalesce(settled, 0)"
    f" FROM ended LEFT JOIN {POSTGRES.books} ON true"
)

"""What to do if the last numbers are lower than numbers that were given before.

A tool that restores one table and not the others sets the numbers back, and the daemon would give
them again. This module must never report that for a sound outbox while a daemon writes turns,
because the repair takes the outbox from all daemons.
"""

from sqlalchemy import Connection, Engine, text

from shipper.store.db.dialect import dialect_of, pick
from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import writing
from shipper.store.drain.numbers import LAST_IN_BLOCKS
from shipper.store.lease import membership


def is_behind(tx: Connection) -> bool:
    """Return whether rows have numbers that are greater than the last ones given.

    The transaction needs one view of the data, because the search reads every row while a daemon
    writes.
    """
    return _are_less(tx, _given(tx))


def catch_up(engine: Engine) -> int:
    """Raise the last numbers to those in the rows; return how many changes that took.

    A running daemon then finds that it has to begin again.
    """
    with snapshot(engine) as tx:
        dialect_of(engine).as_long_as_it_takes(tx)
        given = _given(tx)
        if not _are_less(tx, given):
            return 0
    with writing(engine) as tx:
        _stop_turns(tx)
        # The next statement sees what a turn or another `catch_up` has written in the meantime.
        if not _are_less(tx, given):
            return 0
        if dialect_of(engine).moves_shards:
            tx.execute(_ADVANCE, given)
            membership.begin_again(tx)
            return 1
        return tx.execute(_RAISE, given).rowcount


def _stop_turns(tx: Connection) -> None:
    """Wait until no turn is being written; from then on none can begin before this ends."""
    dialect = dialect_of(tx)
    dialect.lock_lease(tx)
    if dialect.moves_shards:
        # A turn that waited for the row of its daemon would go on with what it saw before. It has
        # locked the table before that row: if this came after the rows, both would wait for ever.
        tx.execute(_STOP_TURNS)
    dialect.lock_daemons(tx)


def _are_less(tx: Connection, given: dict[str, int]) -> bool:
    last = pick(dialect_of(tx), sqlite=_LAST_IN_FILE, postgresql=_LAST)
    there = tx.execute(last).one_or_none()
    if there is None:  # in a file it went with the lease, whose row is made again before
        return not dialect_of(tx).is_file
    return any(getattr(there, name) < number for name, number in given.items())


def _given(tx: Connection) -> dict[str, int]:
    rows = _GIVEN if dialect_of(tx).is_file else _GIVEN[:1]  # there, claims begin with each daemon
    return {name: int(tx.execute(text(query)).scalar_one()) for name, query in rows}


# -- statements -----------------------------------------------------------------------------------

_GIVEN = (
    ("delivery", "SELECT coalesce(max(delivery_number), 0) FROM shipper_outbox"),
    ("claim", "SELECT coalesce(max(number), 0) FROM shipper_claim"),
)
_LAST_IN_FILE = text("SELECT delivery, claim FROM shipper_lease WHERE name = 'outbox'")
_LAST = text(LAST_IN_BLOCKS)
_RAISE = text(
    "UPDATE shipper_lease SET delivery = max(delivery, :delivery), claim = max(claim, :claim)"
    " WHERE name = 'outbox'"
)
_STOP_TURNS = text("LOCK TABLE shipper_turn IN SHARE ROW EXCLUSIVE MODE")
_ADVANCE = text("SELECT setval('shipper_delivery', CAST(:delivery AS bigint) + 1, false)")

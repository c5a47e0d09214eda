"""What an operator does to events: retry or discard dead letters, hold and release keys and links.

Every command is noticed by a running daemon, because it moves the generation of the lease in the
same transaction; that comes first, so that all who write stand in one line and none can deadlock.
Which lanes it has touched is written beside it: the daemon looks there, and not at everything.

It must never end an event that isn't dead, and never keep an application waiting: whatever the
number of events, one transaction moves as many of them as fit into its time (see `batches`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine, TextClause, text

from shipper.store.db.batches import Batches
from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.paging import matching
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import asked, shown, written
from shipper.store.db.transactions import writing
from shipper.store.drain.claims import dump_ids, load_ids
from shipper.store.drain.messages import NAMED, NAMED_SPAN
from shipper.store.lease.turns import fold_all

NAMED_MOST = 128
"""Events of one transaction whose lanes are named; where it changes more, it may be any lane."""

# -- dead letters -------------------------------------------------------------------------------


def retry(engine: Engine, selection: Selection, now: float) -> int:
    """Give the dead letters that fit a new life, and return how many they were.

    They start from nothing and keep their places: a retried one goes before what its key has left.
    A hold by one of them ends with it.
    """
    return _move(engine, selection, "pending", now)


def send_now(engine: Engine, selection: Selection) -> int:
    """Let the pending events that fit wait no longer, and return how many they were.

    Each keeps its place and its budget; the next try counts as asked for by an operator.
    """
    dialect = dialect_of(engine)
    hurry = text(
        f"UPDATE shipper_outbox{dialect.by_id} SET next_attempt_at = NULL, manual = 1"
        f" WHERE id IN {dialect.ids} AND status = 'pending'"
    )
    hurried, batches = 0, Batches()
    meant = matching(engine, dialect, *replace(selection, status="pending").where(dialect))
    for ids in batches.cut(meant):
        with batches.timing(len(ids)), writing(engine) as tx:
            notify(tx)
            hurried += tx.execute(hurry, {"ids": dialect.bind_ids(ids)}).rowcount
            touch(tx, dialect, ids)
    return hurried


def discard(engine: Engine, selection: Selection, now: float) -> int:
    """Give the dead letters that fit up for good, and return how many they were.

    A hold by one of them ends with it.
    """
    return _move(engine, selection, "discarded", now)


def _move(engine: Engine, selection: Selection, status: str, now: float) -> int:
    dialect = dialect_of(engine)
    moved = 0
    batches = Batches()
    meant = matching(engine, dialect, *replace(selection, status="dead").where(dialect))
    for ids in batches.cut(meant):
        with batches.timing(len(ids)), writing(engine) as tx:
            moved += _move_page(tx, dialect, ids, status, now)
    return moved


def _move_page(tx: Connection, dialect: Dialect, ids: list[int], status: str, now: float) -> int:
    notify(tx)
    found = tx.execute(_dead_among(dialect), {"ids": dialect.bind_ids(ids)}).all()
    if not found:
        return 0
    ids = [row.id for row in found]
    values = {"ids": dialect.bind_ids(ids)}
    tx.execute(_MOVE[status](dialect), values)
    tx.execute(release_dead(dialect), values)
    touch(tx, dialect, ids)
    for name, count in Counter(row.destination for row in found).items():
        discarded = count * (status == "discarded")
        lower_dead(tx, dialect, name, count, now, discarded=discarded)
    if status == "pending":
        strike_from_claims(tx, set(ids))
    return len(ids)


def lower_dead(
    tx: Connection,
    dialect: Dialect,
    name: str | bytes,
    count: int,
    now: float,
    *,
    discarded: int = 0,
) -> None:
    """Count that so many events of a destination are dead letters no more, but perhaps given up."""
    fold_all(tx)
    counts = {"name": name, "dead": count, "discarded": discarded}
    tx.execute(_count(dialect), counts | {"now": dialect.bind_time(now)})


def strike_from_claims(tx: Connection, ids: set[int]) -> None:
    """Forget that these were ever claimed: after a crash nobody may think they were in flight.

    A claim keeps the ids whose end was recorded, because their status tells that they aren't out
    any more; a retried one's would no longer tell.
    """
    for number, claimed in tx.execute(_CLAIMS).all():
        before = load_ids(claimed)
        kept = [row for row in before if row not in ids]
        if len(kept) < len(before):
            values = {"number": number, "ids": dump_ids(kept)}
            tx.execute(_REWRITE_CLAIM if kept else _END_CLAIM, values)


# -- holds --------------------------------------------------------------------------------------


def hold_key(engine: Engine, destination: str, key: str, now: float) -> bool:
    """Stop a key of a destination until it is released; return False if an operator had already.

    Where a dead letter holds the key, the operator's word takes its place.
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
    """Let a key go on, of one destination or of all, whoever holds it; return where it was held.

    The links of these destinations are probed.
    """
    dialect = dialect_of(engine)
    condition, values = Selection(key=key, destination=destination).where(dialect)
    with writing(engine) as tx:
        notify(tx)
        name = written(dialect, "destination")
        held = text(f"SELECT {name} FROM shipper_hold WHERE {condition} ORDER BY destination")
        found = list(tx.execute(held, values).scalars())
        _forget_touched(tx)
        tx.execute(text(f"{_TOUCH}, 0, ordering_key FROM shipper_hold WHERE {condition}"), values)
        tx.execute(text(f"DELETE FROM shipper_hold WHERE {condition}"), values)
        for place in found:
            tx.execute(_GO_ON, {"name": place})
    return [shown(place) for place in found]


def hold_destination(engine: Engine, name: str, now: float) -> bool:
    """Stop a destination until it is released; return False if it was held already."""
    return _set_held(engine, name, now, held=1)


def release_destination(engine: Engine, name: str, now: float) -> bool:
    """Let a destination go on and probe its link at once; return False if it wasn't held."""
    return _set_held(engine, name, now, held=0)


def _set_held(engine: Engine, name: str, now: float, *, held: int) -> bool:
    dialect = dialect_of(engine)
    values = {"name": asked(dialect, name), "held": held, "now": dialect.bind_time(now)}
    with writing(engine) as tx:
        notify(tx)
        if held:
            tx.execute(_ADD_DESTINATION, values)
        else:
            tx.execute(_NOTIFY, {"by": 1})  # whoever changed rows by hand releases it
            tx.execute(_GO_ON, values)
        return tx.execute(_set_held_statement(dialect), values).rowcount == 1


# -- statements ---------------------------------------------------------------------------------


def notify(tx: Connection) -> None:
    """Tell the daemon; on Postgres one of us waits here, before any other row is locked."""
    tx.execute(_NOTIFY, {"by": NAMED})


def touch(tx: Connection, dialect: Dialect, ids: Sequence[int]) -> None:
    """Name the lanes of events that were changed, after `notify`: the daemon looks there at once.

    Where they are many it looks at everything anew, which takes it a while.
    """
    if len(ids) > NAMED_MOST:
        tx.execute(_NOTIFY, {"by": 1})
        return
    _forget_touched(tx)
    rows = f"FROM shipper_outbox{dialect.by_id} WHERE id IN {dialect.ids}"
    tx.execute(text(f"{_TOUCH}, id, ordering_key {rows}"), {"ids": dialect.bind_ids(list(ids))})


def _forget_touched(tx: Connection) -> None:
    """Keep what the last commands have touched; a daemon that is further behind sees that it is."""
    tx.execute(_FORGET_TOUCHED)


def _dead_among(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT id, {written(dialect, 'destination')} AS destination FROM shipper_outbox"
        f" WHERE id IN {dialect.ids} AND status = 'dead'"
    )


def _revive(dialect: Dialect) -> TextClause:
    return text(
        "UPDATE shipper_outbox SET status = 'pending', attempts = 0, next_attempt_at = NULL,"
        f" manual = 1, delivery_number = NULL WHERE id IN {dialect.ids} AND status = 'dead'"
    )


def _give_up(dialect: Dialect) -> TextClause:
    return text(
        "UPDATE shipper_outbox SET status = 'discarded'"
        f" WHERE id IN {dialect.ids} AND status = 'dead'"
    )


def release_dead(dialect: Dialect) -> TextClause:
    """Return what ends the holds by dead letters among `ids`; found by key, however many hold."""
    return text(
        f"DELETE FROM shipper_hold WHERE id IN (SELECT h.id FROM shipper_outbox AS o{dialect.by_id}"
        # SQLite goes through the tables of a CROSS JOIN in the order in which they stand.
        " CROSS JOIN shipper_hold AS h"
        f" WHERE o.id IN {dialect.ids} AND {dialect.its_hold.format(hold='h', row='o')}"
        " AND h.cause = 'dead_letter' AND h.event_id = o.event_id)"
    )


def _count(dialect: Dialect) -> TextClause:
    return text(
        "UPDATE shipper_destination SET dead = dead - :dead, discarded = discarded + :discarded,"
        # By it the daemon measures a pause that it has written, if the clock was set back since.
        f" updated_at = CASE WHEN next_try_at IS NULL THEN {dialect.time.format('now')}"
        " ELSE updated_at END WHERE name = CAST(:name AS text)"
    )


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
        # Not updated_at: see `_count`.
        f"UPDATE shipper_destination SET held = :held, since = {now}"
        " WHERE name = CAST(:name AS text) AND held <> :held"
    )


_MOVE = {"pending": _revive, "discarded": _give_up}
_OF_KEY = "destination = CAST(:destination AS text) AND ordering_key = CAST(:key AS text)"
_NOTIFY = text("UPDATE shipper_lease SET generation = generation + :by WHERE name = 'outbox'")
_GENERATION = "(SELECT generation FROM shipper_lease WHERE name = 'outbox')"
_TOUCH = (
    "INSERT INTO shipper_touched (generation, destination, outbox_id, ordering_key)"
    f" SELECT {_GENERATION}, destination"
)
_FORGET_TOUCHED = text(
    f"DELETE FROM shipper_touched WHERE generation <= {_GENERATION} - {NAMED_SPAN}"
)
_HELD_BY = text(f"SELECT cause FROM shipper_hold WHERE {_OF_KEY}")
_ADD_DESTINATION = text(
    "INSERT INTO shipper_destination (name) VALUES (CAST(:name AS text)) ON CONFLICT DO NOTHING"
)
# Seen by the daemon also where nothing was held: it probes the link. One that starts later finds no
# pause that it would have to keep.
_GO_ON = text(
    "UPDATE shipper_destination SET releases = releases + 1,"
    " next_try_at = CASE WHEN state = 'throttled' THEN NULL ELSE next_try_at END"
    " WHERE name = CAST(:name AS text)"
)
_CLAIMS = text("SELECT number, ids FROM shipper_claim")
_REWRITE_CLAIM = text("UPDATE shipper_claim SET ids = :ids WHERE number = :number")
_END_CLAIM = text("DELETE FROM shipper_claim WHERE number = :number")

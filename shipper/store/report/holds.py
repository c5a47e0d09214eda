"""What is held: destinations and keys, since when, why, and how many events wait behind each.

For `hold --list`, `status` and the alarms. Reads only, and by indexes. What waits behind a key is
counted up to a bound: one hot key must never make the list slow.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import asked, shown, snapshot, written

COUNTED = 10_000
"""Waiting events are counted up to this number."""


@dataclass(frozen=True, slots=True)
class HoldReport:
    """A held key, or with None as key a held destination; times are seconds since 1970.

    `cause` is `operator`, or `dead_letter`, which `event_id` names. `pending` counts the events
    that wait behind the hold, up to `COUNTED`.
    """

    destination: str
    ordering_key: str | None
    cause: str
    event_id: str | None
    since: float | None
    pending: int


def held(engine: Engine, limit: int) -> tuple[list[HoldReport], int]:
    """Return at most `limit` holds, and how many there are in all.

    Destinations come first, then keys; of each, the longest held first.
    """
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        found = [_destination(tx, dialect, row) for row in tx.execute(_destinations(dialect))]
        room = {"limit": max(0, limit - len(found))}
        keys = [_key(tx, dialect, row) for row in tx.execute(_keys(dialect), room)]
        total = len(found) + int(tx.execute(_COUNT).scalar_one())
    return (found + keys)[:limit], total


def keys_held(engine: Engine, destination: str, limit: int) -> tuple[list[HoldReport], int]:
    """Return the held keys of a destination, the longest held first, and how many there are."""
    dialect = dialect_of(engine)
    values = {"destination": asked(dialect, destination), "limit": limit}
    with snapshot(engine) as tx:
        found = [_key(tx, dialect, row) for row in tx.execute(_keys(dialect, _OF_IT), values)]
        return found, int(tx.execute(_COUNT_OF_IT, values).scalar_one())


def waiting(engine: Engine, destination: str, key: str) -> int:
    """Return how many events of a key wait, counted up to `COUNTED`."""
    dialect = dialect_of(engine)
    values = {"destination": asked(dialect, destination), "key": asked(dialect, key)}
    with snapshot(engine) as tx:
        return int(tx.execute(_of_key(dialect), values).scalar_one())


def _destination(tx: Connection, dialect: Dialect, row: Row[Any]) -> HoldReport:
    count = tx.execute(_OF_DESTINATION, {"destination": row.name}).scalar_one()
    return HoldReport(shown(row.name), None, "operator", None, dialect.wall(row.since), int(count))


def _key(tx: Connection, dialect: Dialect, row: Row[Any]) -> HoldReport:
    values = {"destination": row.destination, "key": row.ordering_key}
    count = tx.execute(_of_key(dialect), values).scalar_one()
    return HoldReport(
        shown(row.destination),
        shown(row.ordering_key),
        row.cause,
        None if row.event_id is None else shown(row.event_id),
        dialect.wall(row.since),
        int(count),
    )


# -- statements ---------------------------------------------------------------------------------


def _destinations(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT {written(dialect, 'name')} AS name, {dialect.moment.format('since')} AS since"
        " FROM shipper_destination WHERE held = 1 ORDER BY name"
    )


def _keys(dialect: Dialect, where: str = "") -> TextClause:
    texts = (
        f"{written(dialect, name)} AS {name}"
        for name in ("destination", "ordering_key", "event_id")
    )
    return text(
        f"SELECT {', '.join(texts)}, cause, {dialect.moment.format('since')} AS since"
        f" FROM shipper_hold {where} ORDER BY id LIMIT :limit"
    )


def _of_key(dialect: Dialect) -> TextClause:
    return text(
        "SELECT count(*) FROM (SELECT 1 FROM shipper_outbox WHERE status = 'pending'"
        f" AND {dialect.same_key.replace(':destination', 'CAST(:destination AS text)')}"
        f" LIMIT {COUNTED}) AS waiting"
    )


_OF_IT = "WHERE destination = CAST(:destination AS text)"
_COUNT = text("SELECT count(*) FROM shipper_hold")
_COUNT_OF_IT = text(f"SELECT count(*) FROM shipper_hold {_OF_IT}")
_OF_DESTINATION = text(
    "SELECT count(*) FROM (SELECT 1 FROM shipper_outbox WHERE status = 'pending'"
    f" AND destination = CAST(:destination AS text) LIMIT {COUNTED}) AS waiting"
)

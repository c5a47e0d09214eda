"""What `shipper top` shows of a destination beside its counts: waiting events, causes of deaths.

It is read every second, so each question is for a few rows at the end of an index. It must never
count, sort or scan all rows of a destination. Reads only.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.report.first_pending import first_pending

NEWEST_DEAD = 200
"""The causes are those of at most this many dead letters."""
_FEW = 5


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """A pending event; `written` is in seconds since 1970, `error` is its last try's."""

    id: int
    key: str | None
    written: float
    error: str | None


@dataclass(frozen=True, slots=True)
class Glance:
    """The oldest pending events and the longest held keys, at most five of each.

    `causes` are those of the newest dead letters (see `NEWEST_DEAD`), the most frequent first.
    """

    oldest: tuple[WaitingEvent, ...]
    held: tuple[str, ...]
    causes: tuple[tuple[str, int], ...]


def glance(engine: Engine, destination: str) -> Glance:
    """Return what `top` shows of a destination.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    values = {"name": dialect.bind_key(destination), "few": _FEW, "dead": NEWEST_DEAD}
    with snapshot(engine) as tx:
        return Glance(
            tuple(_oldest(tx, dialect, values)),
            tuple(shown(row.key) for row in tx.execute(_held(dialect), values)),
            tuple(_causes(tx, values)),
        )


def _oldest(tx: Connection, dialect: Dialect, values: dict[str, Any]) -> list[WaitingEvent]:
    return [
        WaitingEvent(
            row.id,
            None if row.key is None else shown(row.key),
            dialect.wall(row.created_at) or 0.0,
            row.last_error,
        )
        for row in tx.execute(_pending(dialect), values)
    ]


def _causes(tx: Connection, values: dict[str, Any]) -> list[tuple[str, int]]:
    causes = Counter((row.last_error or "").partition(":")[0] for row in tx.execute(_DEAD, values))
    return causes.most_common(_FEW)


def _pending(dialect: Dialect) -> TextClause:
    return text(
        first_pending(
            dialect,
            f"id, {written(dialect, 'ordering_key')} AS key,"
            f" {dialect.moment.format('created_at')} AS created_at, last_error",
            ":few",
        )
    )


def _held(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT {written(dialect, 'ordering_key')} AS key FROM shipper_hold"
        " WHERE destination = CAST(:name AS text) ORDER BY id LIMIT :few"
    )


_DEAD = text(
    "SELECT last_error FROM shipper_outbox WHERE status = 'dead'"
    " AND destination = CAST(:name AS text) ORDER BY id DESC LIMIT :dead"
)

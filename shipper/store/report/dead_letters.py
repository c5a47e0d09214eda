"""Dead letters grouped by what they died of. For `dead list`. Reads only.

It decides what counts as the same cause: the same destination, and the same word at the beginning
of the last error.
"""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine, Row, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import shown, snapshot, written
from shipper.store.operate.preview import SAMPLES


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """Dead letters of one destination that died of the same cause.

    `first_written` and `last_written` are when the oldest and the newest were written, in seconds
    since 1970; `ids` are the smallest ones.
    """

    destination: str
    cause: str
    count: int
    first_written: float
    last_written: float
    ids: tuple[int, ...]


def dead_groups(engine: Engine, selection: Selection) -> list[DeadGroup]:
    """Return the dead letters that fit, grouped by destination and cause, the most first."""
    dialect = dialect_of(engine)
    condition, values = replace(selection, status="dead").where(dialect)
    samples = (
        f"min(CASE WHEN place = {n} THEN id END) AS sample_{n}" for n in range(1, SAMPLES + 1)
    )
    statement = text(
        f"SELECT destination, cause, count(*) AS dead_letters, {', '.join(samples)},"
        f" {dialect.moment.format('min(created_at)')} AS first_written,"
        f" {dialect.moment.format('max(created_at)')} AS last_written FROM ("
        f"SELECT id, {written(dialect, 'destination')} AS destination,"
        f" {dialect.cause} AS cause, created_at, row_number() OVER (PARTITION BY destination,"
        f" {dialect.cause} ORDER BY id) AS place FROM shipper_outbox WHERE {condition}"
        ") AS numbered GROUP BY destination, cause ORDER BY dead_letters DESC, sample_1"
    )
    with snapshot(engine) as tx:
        return [_group(dialect, row) for row in tx.execute(statement, values)]


def _group(dialect: Dialect, row: Row[Any]) -> DeadGroup:
    ids = (getattr(row, f"sample_{n}") for n in range(1, SAMPLES + 1))
    return DeadGroup(
        destination=shown(row.destination),
        cause=row.cause,
        count=row.dead_letters,
        first_written=dialect.wall(row.first_written) or 0.0,
        last_written=dialect.wall(row.last_written) or 0.0,
        ids=tuple(row_id for row_id in ids if row_id is not None),
    )

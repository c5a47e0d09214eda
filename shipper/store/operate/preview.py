"""What a command is about to change: how many events, and a few of their ids.

The command shows it before it asks the operator to confirm. Reads only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, text

from shipper.store.db.dialect import dialect_of
from shipper.store.db.selection import Selection
from shipper.store.db.snapshot import snapshot

SAMPLES = 3
"""How many ids a question names."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many pending events fit, and the smallest ids among them."""

    count: int
    samples: tuple[int, ...]


def find_pending(engine: Engine, selection: Selection) -> Found:
    """Return the pending events that fit; raises StoreUnavailable, AccessDenied, SchemaError."""
    condition, values = replace(selection, status="pending").where(dialect_of(engine))
    count = text(f"SELECT count(*) FROM shipper_outbox WHERE {condition}")
    with snapshot(engine) as tx:
        return Found(tx.execute(count, values).scalar_one(), samples_of(tx, condition, values))


def samples_of(tx: Connection, condition: str, values: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the smallest ids of the events that fit a condition."""
    smallest = text(f"SELECT id FROM shipper_outbox WHERE {condition} ORDER BY id LIMIT {SAMPLES}")
    return tuple(tx.execute(smallest, values).scalars())

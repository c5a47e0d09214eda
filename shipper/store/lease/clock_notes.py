"""What a daemon has noted of its machine's clocks, for the next daemon of the same boot.

The daemon writes them only if the wall clock was set, as a row beside the lease. They are for one
boot of one machine: a time since the boot has no meaning elsewhere. So each boot has a row of its
own; those that were written last are kept, in the order of a counter, because clocks are in doubt
here. This module decides nothing; `shipper.system.confirmed_time` judges the notes.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Engine, text

from shipper.store.db.dialect import dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import writing


def read(engine: Engine, boot: str) -> object:
    """Return the notes of this boot; None if there are none.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with snapshot(engine) as tx:
        row = tx.execute(_READ, {"name": _name(boot)}).scalar()
    try:
        found = orjson.loads(row or "")
    except orjson.JSONDecodeError:
        return None
    return found.get("notes") if boot and _boot_of(found) == boot else None


def write(engine: Engine, boot: str, notes: Mapping[str, Any]) -> None:
    """Write the notes of this boot; do nothing if the system doesn't show which boot this is.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    if boot:
        row = orjson.dumps({"boot": boot, "notes": notes}).decode()
        with writing(engine) as tx:
            # One at a time: two that tidy up at once would wait for each other.
            dialect_of(engine).lock_lease(tx)
            tx.execute(_WRITE, {"name": _name(boot), "row": row})
            tx.execute(_FORGET)


def _name(boot: str) -> str:
    return f"clock {boot}"


def _boot_of(found: object) -> object:
    return found.get("boot") if isinstance(found, dict) else None


# As many machines as can have a share of an outbox.
_KEPT = 64
_OURS = "FROM shipper_lease WHERE name LIKE 'clock %'"
# Earlier versions wrote one row for all boots. Its name sorts first.
_READ = text(
    "SELECT owner FROM shipper_lease WHERE name IN (:name, 'clock') ORDER BY name DESC LIMIT 1"
)
_WRITE = text(
    "INSERT INTO shipper_lease (name, owner, generation)"
    f" VALUES (:name, :row, (SELECT coalesce(max(generation), 0) + 1 {_OURS}))"
    " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, generation = excluded.generation"
)
_FORGET = text(
    f"DELETE {_OURS} AND name NOT IN (SELECT name {_OURS} ORDER BY generation DESC LIMIT {_KEPT})"
)

"""What a daemon has noted of its machine's clocks, for the next daemon of the same boot.

The daemon writes them only if the wall clock was set, as a row of its own beside the lease. They
are for one boot of one machine: a time since the boot has no meaning elsewhere. This module decides
nothing; `shipper.system.confirmed_time` judges the notes.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Engine, text

from shipper.store.db.snapshot import snapshot
from shipper.store.db.transactions import writing


def read(engine: Engine, boot: str) -> object:
    """Return the notes of this boot; None if there are none.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with snapshot(engine) as tx:
        row = tx.execute(_READ).scalar()
    try:
        found = orjson.loads(row or "")
    except orjson.JSONDecodeError:
        return None
    return found.get("notes") if boot and _boot_of(found) == boot else None


def write(engine: Engine, boot: str, notes: Mapping[str, Any]) -> None:
    """Write the notes; do nothing if the system doesn't show which boot this is.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    if boot:
        row = orjson.dumps({"boot": boot, "notes": notes}).decode()
        with writing(engine) as tx:
            tx.execute(_WRITE, {"row": row})


def _boot_of(found: object) -> object:
    return found.get("boot") if isinstance(found, dict) else None


_READ = text("SELECT owner FROM shipper_lease WHERE name = 'clock'")
_WRITE = text(
    "INSERT INTO shipper_lease (name, owner) VALUES ('clock', :row)"
    " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner"
)

"""The fields about daemons in `shipper status --json`."""

from typing import Any

from shipper.clock import iso
from shipper.store.db.opening import Database
from shipper.store.report.daemons import Shipper, shippers
from shipper.store.report.silence import Silence


def daemon_fields(engine: Database, silence: Silence | None) -> dict[str, Any]:
    """Return the list of daemons, and host, pid and version of the first at the top level."""
    found = shippers(engine)
    first = found[0] if found else Shipper("", None, "", None, None)
    return {
        "host": first.host or None,
        "pid": first.pid,
        "version": first.version or None,
        "daemons": [_fields(shipper, silence) for shipper in found],
    }


def _fields(shipper: Shipper, silence: Silence | None) -> dict[str, Any]:
    seen = shipper.last_seen_seconds
    return {
        "name": shipper.host,
        "host": shipper.host,
        "pid": shipper.pid,
        "version": shipper.version or None,
        "shards": 1,
        "in_flight": shipper.in_flight,
        "since": None if shipper.since is None else iso(shipper.since),
        "last_seen_seconds": None if seen is None else round(max(0.0, seen), 3),
        "unable_to_write_seconds": None if silence is None else round(silence.seconds, 3),
    }

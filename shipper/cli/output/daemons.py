"""The fields about daemons in `shipper status --json`."""

from typing import Any

from shipper.clock import iso
from shipper.store.db.opening import Database
from shipper.store.report.daemons import RunningDaemon, running_daemons
from shipper.store.report.silence import Silence


def daemon_fields(engine: Database, silence: Silence | None) -> dict[str, Any]:
    """Return the list of daemons, and host, pid and version of the first at the top level."""
    found = running_daemons(engine)
    first = found[0] if found else RunningDaemon("", None, "", None, None)
    return {
        "host": first.host or None,
        "pid": first.pid,
        "version": first.version or None,
        "daemons": [_fields(daemon, silence) for daemon in found],
    }


def _fields(daemon: RunningDaemon, silence: Silence | None) -> dict[str, Any]:
    seen = daemon.last_seen_seconds
    return {
        "name": daemon.host,
        "host": daemon.host,
        "pid": daemon.pid,
        "version": daemon.version or None,
        "shards": 1,
        "in_flight": daemon.in_flight,
        "since": None if daemon.since is None else iso(daemon.since),
        "last_seen_seconds": None if seen is None else round(max(0.0, seen), 3),
        "unable_to_write_seconds": None if silence is None else round(silence.seconds, 3),
    }

"""The daemons of an outbox in `shipper status` and `top`: fields of JSON, and a line for each."""

from collections.abc import Sequence
from typing import Any

from shipper.clock import iso
from shipper.store.report.daemons import RunningDaemon
from shipper.store.report.silence import Silence
from shipper.wording.quantities import count, lasting, several


def daemon_fields(found: Sequence[RunningDaemon], silence: Silence | None) -> dict[str, Any]:
    """Return the list of daemons, and host, pid and version of the first at the top level."""
    first = next((daemon for daemon in found if not daemon.is_missing), None)
    return {
        "host": first and (first.host or None),
        "pid": first and first.pid,
        "version": first and (first.version or None),
        "daemons": [_fields(daemon, silence) for daemon in found],
    }


def _fields(daemon: RunningDaemon, silence: Silence | None) -> dict[str, Any]:
    seen, unable = daemon.last_seen_seconds, None if silence is None else silence.seconds
    if daemon.is_missing:
        unable = seen
    return {
        "name": daemon.name,
        "host": daemon.host,
        "pid": daemon.pid,
        "version": daemon.version or None,
        "shards": daemon.shards,
        "in_flight": daemon.in_flight,
        "missing": daemon.is_missing,
        "since": None if daemon.since is None else iso(daemon.since),
        "last_seen_seconds": None if seen is None else round(max(0.0, seen), 3),
        "unable_to_write_seconds": None if unable is None else round(unable, 3),
    }


def daemon_lines(daemons: Sequence[RunningDaemon]) -> list[str]:
    """Return a line for each daemon: its version, shards, and how many events it has claimed."""
    return [_line(daemon) for daemon in daemons]


def _line(daemon: RunningDaemon) -> str:
    facts = [f"shipper {daemon.version}"] if daemon.version else []
    if not daemon.is_gone:
        shards = several(daemon.shards, "shard")
        facts.append(shards if daemon.shards else "no shard, ready to take over")
        facts.append(f"{count(daemon.in_flight)} claimed")
    if daemon.is_missing:
        facts.append(f"missing: last seen {lasting(max(0.0, daemon.last_seen_seconds or 0.0))} ago")
    return f"{daemon}: {', '.join(facts)}"

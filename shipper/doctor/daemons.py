"""Checks of the daemons that share a PostgreSQL outbox: that they agree, and that none is missing.

A check must only read. It must never call a fault what the others make good by themselves within
the time of a lease. This configuration is compared with what each daemon wrote of its own.
"""

from collections.abc import Iterator, Sequence

from shipper.advice import differing_settings
from shipper.config import Settings
from shipper.config.agreement import agreement, differences
from shipper.doctor.result import CheckResult, warning, well
from shipper.observe.troubles import MISSING_DAEMON_FIX
from shipper.policy.shares import SHARDS
from shipper.store.db.opening import Database
from shipper.store.db.snapshot import snapshot
from shipper.store.report.agreements import all_daemons
from shipper.store.report.daemon_rows import free_shards, listed
from shipper.store.report.daemons import RunningDaemon, running_daemons, shippers
from shipper.wording.quantities import count, several
from shipper.wording.safe_text import printable

_LISTED = 8


def check_daemons(database: Database) -> Iterator[CheckResult]:
    """List the daemons that share the outbox, and what is wrong between them."""
    found = running_daemons(database)
    with snapshot(database) as tx:
        free = free_shards(tx)
    running, there = shippers(found), [one for one in found if not one.is_gone]
    if len(there) > 1:
        yield well("daemons", _list(there))
    if not running:
        return  # `check_daemon` reports that
    for daemon in (one for one in found if one.is_missing):
        yield warning("daemons", printable(daemon.absence), MISSING_DAEMON_FIX)
    yield from _of_shards(there, free)
    yield from _of_versions(running)


def check_agreement(database: Database, settings: Settings) -> Iterator[CheckResult]:
    """Name each daemon of the outbox whose settings differ from this configuration."""
    mine, daemons = agreement(settings), all_daemons(database)
    differing = [(each, differences(mine, each.settings)) for each in daemons]
    for daemon, found in differing:
        if found:
            text = f"{daemon} differs from this configuration: {', '.join(found)}"
            yield warning("settings", text, differing_settings(found))
    if len(daemons) > 1 and not any(found for _, found in differing):
        yield well("settings", f"{len(daemons)} daemons have those of this configuration")


def _list(found: Sequence[RunningDaemon]) -> str:
    each = [
        f"{one} ({one.version or 'unknown version'}, {several(one.shards, 'shard')},"
        f" {count(one.in_flight)} claimed)"
        for one in found[:_LISTED]
    ]
    more = len(found) - _LISTED
    rest = f" and {more} more" if more > 0 else ""
    return printable(f"{len(found)} share the outbox: {', '.join(each)}{rest}")


def _of_shards(found: Sequence[RunningDaemon], free: int) -> Iterator[CheckResult]:
    if free:
        yield warning(
            "shards",
            f"no daemon has {several(free, 'shard')} of {SHARDS}: their events wait",
            "a daemon takes them within seconds; if this remains, see: journalctl -u shipper",
        )
    waiting = [one for one in found if not one.shards and not one.is_missing]
    if len(found) > SHARDS:
        wait = "waits" if len(waiting) == 1 else "wait"
        text = f"{several(len(waiting), 'daemon')} {wait} for a shard, ready to take over"
        yield well("shards", f"there are {SHARDS} shards, and {len(found)} daemons: {text}")


def _of_versions(running: Sequence[RunningDaemon]) -> Iterator[CheckResult]:
    versions = sorted({one.version for one in running})
    if len(versions) > 1:
        each = [
            f"{version or 'an unknown one'} on "
            + listed([one.name for one in running if one.version == version])
            for version in versions[:_LISTED]
        ]
        yield warning(
            "versions",
            printable(f"the daemons have several versions of shipper: {'; '.join(each)}"),
            "update the others, and restart them one after the other",
        )

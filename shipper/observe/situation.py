"""Gather the facts that can show a fault of an outbox, all at one moment.

This module only reads; `troubles` judges. It must never change anything.
"""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import NamedTuple

from shipper import advice
from shipper.config import Settings
from shipper.store.db import commits
from shipper.store.db.engine import database_path
from shipper.store.db.opening import Database
from shipper.store.report.audit import known_to_be_broken
from shipper.store.report.budget import Footprint, footprint
from shipper.store.report.daemons import RunningDaemon, named, running_daemons, shippers
from shipper.store.report.holds import HoldReport, keys_held
from shipper.store.report.silence import Silence, find_silence
from shipper.store.report.status import (
    Blocker,
    DestinationReport,
    commit_blockers,
    destination_report,
)
from shipper.store.upkeep import reserve
from shipper.store.upkeep.sqlite_file import wal_bytes

_LOOKED_AT = 3
# Bytes. With less free space, the next INSERT may fail.
_FULL = 16 * 10**6
_WAITS_LONG = 3600.0
_SELDOM = 60.0


@dataclass(frozen=True, slots=True)
class Room:
    """The disk of an SQLite outbox, in bytes. `least` is the free space that [alerts] asks for."""

    free: int
    wal: int
    reserved: int
    """The present size of the reserve file, which lets the daemon record on a full disk."""
    reserve: int
    """The configured size of the reserve file."""
    least: int

    @classmethod
    def of(cls, file: Path, settings: Settings) -> "Room":
        """Return the present values; raises OSError."""
        return cls(
            free=shutil.disk_usage(file.parent).free,
            wal=wal_bytes(file),
            reserved=reserve.held(file),
            reserve=settings.space.reserve,
            least=settings.alerts.disk_free,
        )

    @property
    def full_below(self) -> int:
        """Return the free bytes below which the disk counts as full; the reserve isn't free."""
        return _FULL


class Hours(NamedTuple):
    """The delivery windows at this moment; without windows, delivery is always open.

    `closed` says until when no window is open; it is None while one is. `open_for(age, enough)`
    returns for how many of the last `age` seconds a window was open; it may stop counting once it
    has more than `enough`.
    """

    closed: str | None = None
    open_for: Callable[[float, float], float] | None = None


ALWAYS_OPEN = Hours()


@dataclass(frozen=True, slots=True)
class Situation:
    """All facts that can show a fault. `oldest` is the number of seconds that an event may wait."""

    reports: Sequence[DestinationReport]
    configured: Collection[str]
    is_shipped: bool
    oldest: float = _WAITS_LONG
    taken: Footprint | None = None
    room: Room | None = None
    held: Sequence[HoldReport] = ()
    broken: Sequence[str] = ()
    blockers: Sequence[Blocker] = ()
    held_for: float = 0.0
    """See `open_for`."""
    stalled: commits.StalledCommits | None = None
    places: Sequence[advice.DestinationPlace] = field(default=())
    config: str = "the configuration"
    start: str = "shipper run"
    """The command that starts a daemon here."""
    silence: Silence | None = None
    """Why the running daemon can't write, if it can't."""
    daemons: Sequence[RunningDaemon] = ()
    """The daemons that run, or are missing."""
    hours: Hours = ALWAYS_OPEN
    """The delivery windows."""
    late_after: Mapping[str, float] = field(default_factory=dict)
    """By destination, the seconds after which its API may no longer want an event."""

    def waits_too_long(self, report: DestinationReport) -> bool:
        """Return whether a destination's oldest event is late; see `is_late`."""
        return is_late(report.oldest_pending_seconds, self.oldest, self.hours.open_for)

    def is_late(self, report: DestinationReport) -> bool:
        """Return whether an event waits longer than its destination's `late_after`, at any hour."""
        bound = self.late_after.get(report.name)
        return is_late(report.oldest_pending_seconds, bound, None)

    def closed_for(self, report: DestinationReport) -> str | None:
        """Return until when the windows stop a destination that is well, or None."""
        return self.hours.closed if report.looks_well and report.name in self.configured else None


def is_late(
    age: float | None, bound: float | None, open_for: Callable[[float, float], float] | None
) -> bool:
    """Return whether an event waits for longer than `bound` seconds; closed hours don't count.

    `open_for` is that of `Hours`. Without an `age` or a `bound` nothing is late.
    """
    if age is None or bound is None or age <= bound:
        return False
    return open_for is None or open_for(age, bound) > bound


def late_after(settings: Settings) -> dict[str, float]:
    """Return the bound of each destination that has one, in seconds."""
    found = ((name, each.late_after) for name, each in settings.destinations.items())
    return {name: bound for name, bound in found if bound is not None}


def open_for(database: Database, blockers: Sequence[Blocker]) -> float:
    """Return for how many seconds the oldest of these transactions has been open, 0 if none is.

    If the server doesn't show that, return for how long an event has waited for it.
    """
    shown = [blocker.seconds for blocker in blockers if blocker.seconds is not None]
    hidden = len(shown) < len(blockers)
    return max([0.0, *shown, commits.held_for(database) if hidden else 0.0])


class SlowFacts:
    """Facts that take long to find: read once a minute for a display that is drawn each second."""

    def __init__(self) -> None:
        self._asked_at = -inf
        self._found: tuple[Sequence[str], Footprint | None] = ((), None)

    def of(
        self, database: Database, settings: Settings, rows: int, now: float
    ) -> tuple[Sequence[str], Footprint | None]:
        """Return which rules are broken, and the use of the budget if there is one."""
        if not 0.0 <= now - self._asked_at < _SELDOM:
            budget = settings.space.budget
            taken = None if budget is None else footprint(database, rows, now, budget)
            self._found = known_to_be_broken(database, rows), taken
            self._asked_at = now
        return self._found


def gather(
    database: Database,
    settings: Settings,
    now: float,
    *,
    oldest: float | None = None,
    start: str = "shipper run",
    seldom: SlowFacts | None = None,
) -> tuple[Situation, str | None]:
    """Return the situation of an outbox, and who ships it, if any daemon does.

    `oldest` replaces the limit of [alerts] for waiting events, in seconds. A caller that gathers
    every second passes the same `seldom` each time. The caller adds the delivery windows. Raises
    StoreUnavailable, AccessDenied and SchemaError.
    """
    daemons, blockers = running_daemons(database), commit_blockers(database)
    daemon = named(shippers(daemons))
    reports = destination_report(database, settings.destinations, now, patient=True)
    rows, path = sum(report.rows for report in reports), database_path(settings.database.url)
    broken, taken = (seldom or SlowFacts()).of(database, settings, rows, now)
    situation = Situation(
        reports,
        settings.destinations.keys(),
        is_shipped=daemon is not None,
        oldest=(settings.alerts.oldest_pending or inf) if oldest is None else oldest,
        taken=taken,
        room=None if path is None else Room.of(path, settings),
        held=[
            h for r in reports if r.held_keys for h in keys_held(database, r.name, _LOOKED_AT)[0]
        ],
        broken=broken,
        blockers=blockers,
        held_for=open_for(database, blockers),
        stalled=commits.waiting(database),
        places=[advice.place_of(each, settings) for each in settings.destinations.values()],
        config=str(settings.path or "the configuration"),
        start=start,
        silence=find_silence(database),
        daemons=daemons,
        late_after=late_after(settings),
    )
    return situation, daemon

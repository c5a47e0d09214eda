"""What can be wrong with an outbox, as it is at a moment: asked once, for whoever judges it.

It decides nothing; `troubles` does. It must never change anything.
"""

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import NamedTuple

from shipper import advice
from shipper.config import Settings
from shipper.store.db import commits
from shipper.store.db.engine import database_path
from shipper.store.db.opening import Database
from shipper.store.report.budget import Footprint, footprint
from shipper.store.report.holds import Held, keys_held
from shipper.store.report.silence import Plight, plight
from shipper.store.report.status import (
    Blocker,
    DestinationReport,
    commit_blockers,
    current_shipper,
    destination_report,
)
from shipper.store.report.verify import known_to_be_broken
from shipper.store.upkeep import reserve
from shipper.store.upkeep.sqlite_file import wal_bytes

_LOOKED_AT = 3
# With less than this left on the disk the next INSERT may fail.
_FULL = 16 * 10**6
_WAITS_LONG = 3600.0
_SELDOM = 60.0


@dataclass(frozen=True, slots=True)
class Room:
    """The disk of an SQLite outbox, in bytes. `least` is what [alerts] wants to be free."""

    free: int
    wal: int
    reserved: int
    """What lies in reserve for the daemon's marks."""
    reserve: int
    """What should."""
    least: int

    @classmethod
    def of(cls, file: Path, settings: Settings) -> "Room":
        """Return how it is now; raises OSError."""
        return cls(
            free=shutil.disk_usage(file.parent).free,
            wal=wal_bytes(file),
            reserved=reserve.held(file),
            reserve=settings.space.reserve,
            least=settings.alerts.disk_free,
        )

    @property
    def full_below(self) -> int:
        """Return with how many bytes left the disk is as good as full; a reserve is no room."""
        return _FULL


class Hours(NamedTuple):
    """The delivery windows, as they are just now; without any, one is always open.

    `closed` says for a person until when none is open. `open_for` tells for how many of the last
    seconds, its first number, one was; it may stop to count at more than its second.
    """

    closed: str | None = None
    open_for: Callable[[float, float], float] | None = None


ALWAYS_OPEN = Hours()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that can be wrong. `oldest` is for how many seconds an event may wait."""

    reports: Sequence[DestinationReport]
    configured: Collection[str]
    is_shipped: bool
    oldest: float = _WAITS_LONG
    taken: Footprint | None = None
    room: Room | None = None
    held: Sequence[Held] = ()
    broken: Sequence[str] = ()
    blockers: Sequence[Blocker] = ()
    held_for: float = 0.0
    """See `open_for`."""
    stalled: commits.Waiting | None = None
    places: Sequence[advice.DestinationPlace] = field(default=())
    config: str = "the configuration"
    start: str = "shipper run"
    """How a shipper is started here."""
    plight: Plight | None = None
    """Why the daemon can't write, though it runs."""
    hours: Hours = ALWAYS_OPEN
    """The delivery windows."""

    def waits_too_long(self, report: DestinationReport) -> bool:
        """Return whether a destination's oldest event waits for too long; closed hours are none."""
        age = report.oldest_pending_seconds
        if age is None or age <= self.oldest:
            return False
        open_for = self.hours.open_for
        return open_for is None or open_for(age, self.oldest) > self.oldest

    def closed_for(self, report: DestinationReport) -> str | None:
        """Return until when a destination that looks well sends nothing, because of the windows."""
        return self.hours.closed if report.looks_well and report.name in self.configured else None


def open_for(database: Database, blockers: Sequence[Blocker]) -> float:
    """Return for how many seconds the oldest of these transactions is open, 0 for none.

    Where the server doesn't show us that, for how long an event waits for it.
    """
    shown = [blocker.seconds for blocker in blockers if blocker.seconds is not None]
    hidden = len(shown) < len(blockers)
    return max([0.0, *shown, commits.held_for(database) if hidden else 0.0])


class Seldom:
    """What takes a while to find out: asked once a minute by who looks every second."""

    def __init__(self) -> None:
        self._asked_at = -inf
        self._found: tuple[Sequence[str], Footprint | None] = ((), None)

    def of(
        self, database: Database, settings: Settings, rows: int, now: float
    ) -> tuple[Sequence[str], Footprint | None]:
        """Return which invariants are broken, and what is taken of a budget, if there is one."""
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
    seldom: Seldom | None = None,
) -> tuple[Facts, str | None]:
    """Return what can be wrong with an outbox, and who ships it.

    `oldest` is for how many seconds an event may wait, where that isn't what [alerts] says. Who
    looks again and again has a `seldom`. Of delivery windows the caller knows. Raises
    StoreUnavailable, AccessDenied and SchemaError.
    """
    shipper, blockers = current_shipper(database), commit_blockers(database)
    reports = destination_report(database, settings.destinations, now, patient=True)
    rows, path = sum(report.rows for report in reports), database_path(settings.database.url)
    broken, taken = (seldom or Seldom()).of(database, settings, rows, now)
    facts = Facts(
        reports,
        settings.destinations.keys(),
        is_shipped=shipper is not None,
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
        plight=plight(database),
    )
    return facts, shipper

"""The figures of the database and its disk, for metrics and alarms: read seldom, and kept.

This module decides how often to read. Queries must never take more than a twentieth of the time,
however many events are pending. They must never use the database's thread or the drain's
connection, delay any caller for long, or scan the history. There is one exception: once a day, if
alarms are configured and the outbox isn't huge, the survey reads all rows to verify the rules of
the outbox. Destinations that aren't configured are counted as one: an application must never be
able to add metrics.
"""

import asyncio
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from threading import Lock
from typing import Final

from shipper.clock import Clock
from shipper.config import Settings
from shipper.errors import ShipperError
from shipper.observe.role import ALONE, Role
from shipper.observe.situation import open_for
from shipper.observe.troubles import as_seen
from shipper.policy.state import State
from shipper.store.db import commits
from shipper.store.db.engine import database_path, open_engine
from shipper.store.db.opening import Database
from shipper.store.db.transactions import interrupt, let_go
from shipper.store.report import status
from shipper.store.report.audit import remember, remembered
from shipper.store.report.budget import Footprint, footprint
from shipper.store.report.daemons import RunningDaemon, running_daemons
from shipper.store.report.verify import broken_rules
from shipper.store.upkeep.reserve import held
from shipper.store.upkeep.sqlite_file import wal_bytes
from shipper.system.background import aside
from shipper.system.confirmed_time import Confirmed

ASK_EVERY: Final = 10.0
# The next query waits this many times as long as the last one took.
_REST: Final = 20
_FORECAST_EVERY: Final = 600.0
_DAY: Final = 86400.0
# Seconds. The limit for late events that is used if no alarm has one.
_OLD: Final = 3600.0
# Once a day, and not at the start: a daemon that keeps crashing would do nothing else.
AUDIT_EVERY: Final = 86400.0
_AUDIT_FIRST: Final = 900.0
_AUDIT_AGAIN: Final = 900.0  # if the database was lost during an audit
# Reading more rows would delay the checkpoint of an SQLite file's WAL for too long.
AUDITED_ROWS: Final = 1_000_000
# Seconds. If a query takes longer, callers get the figures from before.
_PATIENCE: Final = 3.0
_CLOSE_WITHIN: Final = 2.0
_CLOSE_TRIES: Final = 20

# This can't be the name of a destination.
UNCONFIGURED: Final = "(unconfigured)"


@dataclass(frozen=True, slots=True)
class Backlog:
    """The events of one destination by status, and the age of the oldest pending one."""

    destination: str
    pending: int
    delivered: int
    dead: int
    discarded: int
    purged: int
    held_keys: int
    oldest_pending_seconds: float | None
    paused: str | None = None
    """Why the link is paused, as the worst of all living daemons says, with which one says so if
    others don't; None if it isn't."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The size of an SQLite outbox, and the free space of its disk, in bytes."""

    file: int
    wal: int
    free: int
    days_left: float | None
    """Days until the disk is full at the last day's rate; None without growth."""
    reserve: int
    """The size of the reserve file, which lets the daemon record deliveries on a full disk."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One reading of the database. `disk` is None on PostgreSQL."""

    backlogs: tuple[Backlog, ...]
    held_back_seconds: float
    """For how long an open transaction has kept the newest events back (PostgreSQL)."""
    footprint: Footprint
    """The outbox's use of its budget; the forecast in it is at most ten minutes old."""
    disk: Disk | None
    commit_seconds: float = 0.0
    """For how long a commit has waited for a synchronous standby (PostgreSQL)."""
    broken: tuple[str, ...] = ()
    """The rules that the last audit found broken."""
    daemons: tuple[RunningDaemon, ...] = ()
    """The daemons that run, or are missing; none for a file, which has only this one."""


@dataclass(slots=True)
class Audit:
    """The result of the last audit, and the time of the next (monotonic). It outlives a reload."""

    due: float
    broken: tuple[str, ...] = ()

    @classmethod
    def first(cls, clock: Clock) -> "Audit":
        """Return an audit that hasn't run yet."""
        return cls(clock.monotonic() + _AUDIT_FIRST)


class Survey:
    """Reads the figures now and then. Belongs to the event loop; close it there.

    Without an `audit` it never verifies the rules; of several daemons, only the one that leads
    does.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        audit: Audit | None = None,
        role: Role = ALONE,
    ) -> None:
        self.role = role
        self._clock = clock
        self._observer = _Observer(settings, clock, audit, role)
        self._asking: asyncio.Task[None] | None = None
        self._ask_at = clock.monotonic()
        self._latest: Figures | None = None

    async def figures(self) -> Figures | None:
        """Return the last figures, or None if the database didn't answer.

        They are at most `ASK_EVERY` seconds old, or older if the database is slow.
        """
        if self._asking is None and self._clock.monotonic() >= self._ask_at:
            self._asking = asyncio.create_task(self._ask())
        if (asking := self._asking) is not None:
            done, _ = await asyncio.wait({asking}, timeout=_PATIENCE)
            if done and not asking.cancelled():
                asking.result()  # raises a bug of the query here
        return self._latest

    async def aclose(self) -> None:
        """Close the connection; wait only a moment for a query that still runs."""
        self._observer.is_closing = True
        closing = aside(self._observer.close, "survey")
        for _ in range(_CLOSE_TRIES):
            aside(self._observer.interrupt, "survey")
            done, _ = await asyncio.wait({closing}, timeout=_CLOSE_WITHIN / _CLOSE_TRIES)
            if done:
                break
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        began = self._clock.monotonic()
        try:
            self._latest = await aside(self._observer.look, "survey")
        except (ShipperError, OSError):
            self._latest = None
        finally:
            now = self._clock.monotonic()
            self._ask_at = now + max(ASK_EVERY, _REST * (now - began))
            self._asking = None


class _Observer:
    """Reads the database, in one thread at a time.

    If the wall clock steps forward, no event becomes old because of that. If it steps back, that
    doesn't count as growth.
    """

    def __init__(
        self, settings: Settings, clock: Clock, audit: Audit | None, role: Role = ALONE
    ) -> None:
        self._leads = role.leads
        self._where = settings.database
        self._budget = settings.space.budget
        self._path = database_path(self._where.url)
        self._configured = frozenset(settings.destinations)
        self._clock = clock
        self._confirmed = Confirmed(clock)
        self._old = settings.alerts.oldest_pending or _OLD
        self._database: Database | None = None
        self._footprint: Footprint | None = None
        self._forecast_at = 0.0
        self._audit = audit or Audit(inf)
        self._one_at_a_time = Lock()
        self.is_closing = False

    def look(self) -> Figures:
        """Return the present figures; raises what the store raises."""
        with self._one_at_a_time:
            try:
                return self._look()
            finally:
                if self._database is not None:
                    let_go(self._database)

    def _look(self) -> Figures:
        if self._database is None:
            self._database = open_engine(
                self._where.url, busy_timeout=1.0, renewed=self._where.read_url
            )
        database, now = self._database, self._confirmed.unstepped(self._old)
        found = status.destination_report(database, self._configured, now)
        blockers, commit = status.commit_blockers(database), commits.waiting(database)
        rows = sum(report.rows for report in found)
        taken = self._footprint_of(database, rows, self._confirmed.at_most(_DAY))
        # In an outbox that has become too large to audit, a broken rule stays broken.
        is_due = self._clock.monotonic() >= self._audit.due and rows <= AUDITED_ROWS
        if not self._leads():
            self._audit.broken = remembered(database)
        elif is_due:
            self._audit_rows(database)
        return Figures(
            backlogs=tuple(self._backlogs(found)),
            held_back_seconds=open_for(database, blockers),
            commit_seconds=0.0 if commit is None else commit.seconds,
            footprint=taken,
            disk=None if self._path is None else _disk(self._path, taken),
            broken=self._audit.broken,
            daemons=() if self._path is not None else tuple(running_daemons(database)),
        )

    def _audit_rows(self, database: Database) -> None:
        """Verify the rules; if that fails, the other figures are returned all the same."""
        self._audit.due = self._clock.monotonic() + _AUDIT_AGAIN
        with suppress(ShipperError):
            if not self.is_closing:
                self._audit.broken = broken_rules(database)
                remember(database, self._audit.broken, self._clock.wall())
                self._audit.due = self._clock.monotonic() + AUDIT_EVERY

    def interrupt(self) -> None:
        """Make the present query fail, because no caller waits for its answer."""
        if self._database is not None:
            interrupt(self._database)

    def close(self) -> None:
        """Close the connection, after the present query."""
        with self._one_at_a_time:
            if self._database is not None:
                self._database.dispose()

    def _backlogs(self, found: Iterable[status.DestinationReport]) -> Iterable[Backlog]:
        stray: list[status.DestinationReport] = []
        for report in found:
            if report.name in self._configured:
                yield replace(_merged(report.name, [report]), paused=_paused(report))
            else:
                stray.append(report)
        if stray:
            yield _merged(UNCONFIGURED, stray)

    def _footprint_of(self, database: Database, rows: int, day_ends: float) -> Footprint:
        now = self._clock.monotonic()
        if self._footprint is None or now >= self._forecast_at:
            self._footprint = footprint(database, rows, day_ends, self._budget)
            self._forecast_at = now + _FORECAST_EVERY
        return self._footprint


def _disk(path: Path, taken: Footprint) -> Disk:
    free, a_day = shutil.disk_usage(path.parent).free, taken.growth.bytes_a_day
    days_left = free / a_day if a_day else None
    return Disk(path.stat().st_size, wal_bytes(path), free, days_left, held(path))


def _paused(report: status.DestinationReport) -> str | None:
    # Without the last error, which names what a receiver said: alerts go to a third party.
    return as_seen(report, report.reason or "") if report.state == State.PAUSED.value else None


def _merged(name: str, found: list[status.DestinationReport]) -> Backlog:
    ages = [r.oldest_pending_seconds for r in found if r.oldest_pending_seconds is not None]
    return Backlog(
        destination=name,
        pending=sum(report.pending for report in found),
        delivered=sum(report.delivered for report in found),
        dead=sum(report.dead for report in found),
        discarded=sum(report.discarded for report in found),
        purged=sum(report.purged for report in found),
        held_keys=sum(report.held_keys for report in found),
        oldest_pending_seconds=max(ages, default=None),
    )

"""Maintenance work, one function for each chore; no chore delivers. `daemon.schedule` decides when.

Each chore takes what it works on as arguments, and is safe to run late, twice, or never. A chore
must never block the drain for longer than a short step.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Protocol, TypeVar

from shipper.clock import LATEST, Clock
from shipper.config import RetentionSettings
from shipper.daemon.file_watch import Fingerprint, fingerprint
from shipper.drain import Dispatcher, Route
from shipper.drain.tally import Tally, Totals
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.store.db.dialect import dialect_of
from shipper.store.db.opening import Database
from shipper.store.drain import sqlite_planner
from shipper.store.lease import clock_notes
from shipper.store.lease.lease import Owner
from shipper.store.report import minutes
from shipper.store.upkeep import retention, sqlite_file, times
from shipper.store.upkeep.reserve import Reserve
from shipper.system.background import aside
from shipper.system.confirmed_time import Confirmed

T = TypeVar("T")

# A chore waits this many times as long as its last step took.
_WAIT_FACTOR = 3.0
# The latest row may be newer than the last comparison of the clocks.
_CLOCKS_STIR = 2.0
# A step of the wall clock by this many seconds is logged, at most once in `_LOG_EVERY`.
_STEP_LOGGED, _LOG_EVERY = 10.0, 60.0
_STEP_HINT = "nothing is deleted because of it: [retention] counts the time that has really passed"


def look(dispatcher: Dispatcher) -> None:
    """Look for new events: the fallback for every other means to notice them."""
    dispatcher.look()


def rescan(dispatcher: Dispatcher) -> None:
    """Read the outbox from its beginning: the look-ahead in memory is only a shortcut."""
    dispatcher.rescan()


def open_or_close(dispatcher: Dispatcher, is_open: bool, log: Log) -> None:  # noqa: FBT001
    """Open or close the delivery window of all destinations; tries in flight go on."""
    turned = [route for route in dispatcher.routes.values() if route.open is not is_open]
    for route in turned:
        log("window.opened" if is_open else "window.closed", destination=route.name)
        route.open = is_open
    if turned:
        dispatcher.wake()


class Thread(Protocol):
    """Runs work in the database's thread: `DatabaseThread.run`."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run `work` in the database's thread; return or raise what it returns or raises."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The chores on the outbox itself, in short steps in the database's thread.

    Between two steps the drain uses the connection and the application can write: a chore waits for
    longer than it works, so that it delays neither of them.
    """

    database: Database
    run: Thread
    wait: Callable[[float], Awaitable[None]]
    clock: Clock
    log: Log
    confirmed: Confirmed
    reserve: Reserve | None = None

    async def retain(self, keeps: RetentionSettings) -> None:
        """Delete events whose retention is over, and give their space back to the file system."""
        began, purged = self.clock.monotonic(), 0
        # This machine's clock can be ahead of those that have stamped the rows.
        latest = await self.run(lambda: times.server_time(self.database))
        cutoffs = retention.Cutoffs(
            *(self._over(keeps.delivered, latest), self._over(keeps.dead, latest)),
            *(self._beyond(keeps.delivered), self._beyond(keeps.dead)),
        )
        batches = retention.prune(self.database, cutoffs, self.clock.monotonic)
        while (batch := await self._step(batches)) is not None:
            purged += batch.total()
        if dialect_of(self.database).is_file:
            pages = sqlite_file.give_back(self.database)
            while await self._step(pages) is not None:
                pass
        if purged:
            seconds = round(self.clock.monotonic() - began, 3)
            self.log("retention.pruned", purged=purged, seconds=seconds)

    def _over(self, kept: float | None, latest: float) -> float | None:
        """Return the time before which an event must have ended to be older than `kept` seconds.

        The time is that of the confirmed clock, but not after `latest`; None if such events are
        kept for ever.
        """
        return None if kept is None else min(self.confirmed.at_least(kept), latest) - kept

    def _beyond(self, kept: float | None) -> float:
        """Return the latest time that this clock can have shown in the last `kept` seconds."""
        if kept is None:
            return LATEST
        return min(self.confirmed.at_most(kept) + _CLOCKS_STIR, LATEST)

    async def shorten_wal(self) -> None:
        """Shorten a WAL that has become large; log when an open transaction prevents it."""
        if not dialect_of(self.database).is_file:
            return
        taken = await self.run(lambda: sqlite_file.measure(self.database))
        if taken.wal <= sqlite_file.WAL_BYTES:
            return
        # It runs beside the drain, not in the database's thread; a stop doesn't wait for it.
        checkpoint = sqlite_file.Checkpoint(self.database)
        try:
            done = await aside(checkpoint.run, "checkpoint")
        except asyncio.CancelledError:
            checkpoint.break_off()
            raise
        if not done:
            self.log("space.wal_large", bytes=taken.wal)

    async def note_clock(self) -> None:
        """Save what is known about the clocks, for the next daemon."""
        boot, notes = Owner.here().boot, self.confirmed.notes()
        await self.run(lambda: clock_notes.write(self.database, boot, notes))

    async def forget_statistics(self) -> None:
        """Remove outdated statistics of another process's ANALYZE, which would mislead SQLite."""
        if dialect_of(self.database).is_file:
            await self.run(lambda: sqlite_planner.forget_statistics(self.database))

    async def keep_reserve(self, *, first: bool = False) -> None:
        """Create the reserve file of an SQLite outbox, if its disk has the room."""
        if (reserve := self.reserve) is None:
            return
        before = reserve.held
        if not await self.run(reserve.restore):
            if first:
                self.log("space.no_reserve", bytes=reserve.size, left=reserve.held)
        elif before < reserve.size and not first:
            self.log("space.reserve_back", bytes=reserve.size)

    async def _step(self, steps: Iterator[T]) -> T | None:
        began = self.clock.monotonic()
        step = await self.run(lambda: next(steps, None))
        await self.wait(_WAIT_FACTOR * (self.clock.monotonic() - began))
        return step


class Statistics:
    """Writes the drain's counters to the database, minute by minute.

    If a minute can't be written, its counts go into the next row. A tally ends with its session.
    """

    def __init__(
        self,
        database: Database,
        run: Thread,
        tally: Tally,
        clock: Clock,
        confirmed: Confirmed,
    ) -> None:
        self._database = database
        self._run = run
        self._tally = tally
        self._clock = clock
        self._confirmed = confirmed
        self._written_at = clock.monotonic()
        # Used by the database's thread from here on: a write that is cancelled still ends there.
        self._written: dict[str, Totals] = {}
        self._longest: dict[str, float] = {}

    async def write(self) -> None:
        """Write the counts since the last write, as the minute that most of that time was in."""
        now, totals = self._clock.monotonic(), self._tally.totals(restart_max=True)
        minute = (self._clock.wall() - (now - self._written_at) / 2) // 60.0 * 60.0
        self._written_at = now
        known = [know(minutes.KEPT) for know in (self._confirmed.at_least, self._confirmed.at_most)]
        await self._run(lambda: self._add(totals, minute, *known))

    def _add(
        self, totals: Mapping[str, Totals], minute: float, at_least: float, at_most: float
    ) -> None:
        for name, total in totals.items():
            self._longest[name] = max(self._longest.get(name, 0.0), total.latency_max)
        rows = [
            self._row(name, total, minute)
            for name, total in totals.items()
            if _progress(total) != _progress(self._written.get(name))
        ]
        if rows:  # a daemon that ships nothing writes nothing
            minutes.add(self._database, rows, at_least, at_most)
            self._written = dict(totals)
            self._longest.clear()

    def _row(self, name: str, total: Totals, minute: float) -> minutes.Minute:
        before = self._written.get(name)
        return minutes.Minute(
            minute,
            name,
            delivered=total.delivered - (before.delivered if before else 0),
            retried=total.retried - (before.retried if before else 0),
            dead=total.dead - (before.dead if before else 0),
            latency_sum=total.latency_sum - (before.latency_sum if before else 0.0),
            latency_max=self._longest[name],
        )


def _progress(totals: Totals | None) -> tuple[int, int, int]:
    return (totals.delivered, totals.retried, totals.dead) if totals else (0, 0, 0)


class ClockWatch:
    """Notices that the wall clock was set and saves the step; logs it at most once a minute."""

    def __init__(
        self,
        confirmed: Confirmed,
        note: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        log: Log,
    ) -> None:
        self._confirmed = confirmed
        self._note = note
        self._clock = clock
        self._log = log
        self._ahead = confirmed.ahead
        self._logged_at = -inf

    async def look(self) -> None:
        """Compare the clocks."""
        self._confirmed.look()
        step, now = self._confirmed.ahead - self._ahead, self._clock()
        if abs(step) < _STEP_LOGGED:
            return
        with suppress(ShipperError):  # the next look, a second later, tries it again
            await self._note()
            self._ahead += step
        if now - self._logged_at >= _LOG_EVERY:
            self._logged_at = now
            self._log("clock.set", seconds=round(step, 1), hint=_STEP_HINT)


class CredentialWatch:
    """Notices a replaced file of a secret, and lets its destination try at once."""

    def __init__(
        self, files: Iterable[tuple[Route, Path]], clock: Callable[[], float], log: Log
    ) -> None:
        # No fingerprint yet: a file may have changed since its courier read it.
        self._files: list[tuple[Route, Path, Fingerprint | None]] = [
            (route, path, None) for route, path in files
        ]
        self._clock = clock
        self._log = log

    def look(self, dispatcher: Dispatcher) -> None:
        """Compare each file with its last fingerprint; log an unreadable file once per change."""
        for at, (route, path, before) in enumerate(self._files):
            now = fingerprint(path)
            if now == before:
                continue
            self._files[at] = (route, path, now)
            try:
                changed = route.courier.refresh()
            except ShipperError as error:
                name = route.name
                self._log("credential.unreadable", destination=name, reason=error.message)
                continue
            if changed:
                self._log("credential.changed", destination=route.name)
                route.link.probe_at_once(self._clock())
                dispatcher.wake()

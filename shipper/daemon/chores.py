"""What is done now and then, one function a chore; `daemon.schedule` rings, nothing here delivers.

Each takes what it works on as arguments and is safe to run late, twice, or never.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Protocol, TypeVar

from shipper.clock import Clock
from shipper.config import RetentionSettings
from shipper.drain import Dispatcher, Route
from shipper.drain.tally import Tally, Totals
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.store.db.opening import Database
from shipper.store.drain import sqlite_planner
from shipper.store.lease import clock_notes
from shipper.store.lease.lease import Owner
from shipper.store.report import minutes
from shipper.store.upkeep import retention, sqlite_file
from shipper.store.upkeep.reserve import Reserve
from shipper.system.background import aside
from shipper.system.confirmed_time import Confirmed

T = TypeVar("T")
Fingerprint = tuple[int, int, int, int]

# How much longer a rest is than the step before it.
_WAIT_FACTOR = 3.0
# Rows on PostgreSQL may be stamped by another machine, whose clock is wrong by less than this.
_CLOCKS_DIFFER = 86400.0
# What was written a moment ago may be ahead of the last look at the clocks.
_CLOCKS_STIR = 2.0
# A wall clock that was set by so many seconds is worth a line; more often than that, none.
_STEP_TOLD, _TELL_EVERY = 10.0, 60.0
_STEP_HINT = "nothing is deleted for it: [retention] goes by how much time has really passed"


def look(dispatcher: Dispatcher) -> None:
    """Look for new events: the safety net under every other way to learn of them."""
    dispatcher.look()


def rescan(dispatcher: Dispatcher) -> None:
    """Read the outbox from its beginning: the look-ahead in memory is only a shortcut."""
    dispatcher.rescan()


def open_or_close(dispatcher: Dispatcher, is_open: bool, log: Log) -> None:  # noqa: FBT001
    """Let all destinations send, or not; what is in flight goes on."""
    turned = [route for route in dispatcher.routes.values() if route.open is not is_open]
    for route in turned:
        log("window.opened" if is_open else "window.closed", destination=route.name)
        route.open = is_open
    if turned:
        dispatcher.wake()


class InDatabaseThread(Protocol):
    """Runs work in the one thread that talks to the database, after what is waiting there."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Return what the work returns."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The chores on the outbox itself: each step a short turn of the database's thread.

    Between two steps the drain has its turn there, and what an application writes has its own:
    nobody waits for a chore, so it rests for longer than it works.
    """

    database: Database
    run: InDatabaseThread
    wait: Callable[[float], Awaitable[None]]
    clock: Clock
    log: Log
    confirmed: Confirmed
    reserve: Reserve | None = None

    async def retain(self, keeps: RetentionSettings) -> None:
        """Delete what is over, and give back the room that it took."""
        began, purged = self.clock.monotonic(), 0
        cutoffs = retention.Cutoffs(
            *(self._over(keeps.delivered), self._over(keeps.dead)),
            *(self._beyond(keeps.delivered), self._beyond(keeps.dead)),
        )
        batches = retention.prune(self.database, cutoffs, self.clock.monotonic)
        while (batch := await self._step(batches)) is not None:
            purged += batch.total()
        if self.database.dialect.name == "sqlite":
            pages = sqlite_file.give_back(self.database)
            while await self._step(pages) is not None:
                pass
        if purged:
            seconds = round(self.clock.monotonic() - began, 3)
            self.log("retention.pruned", purged=purged, seconds=seconds)

    def _over(self, kept: float | None) -> float | None:
        """Return before when something was over to have been that for so long, as we know it."""
        return None if kept is None else self.confirmed.at_least(kept) - kept

    def _beyond(self, kept: float | None) -> float:
        """Return beyond when a row's time can't be of the last `kept` seconds by any clock."""
        if kept is None:
            return retention.END
        foreign = 0.0 if self.database.dialect.name == "sqlite" else _CLOCKS_DIFFER
        return min(self.confirmed.at_most(kept) + foreign + _CLOCKS_STIR, retention.END)

    async def shorten_wal(self) -> None:
        """Cut a WAL that has become large; told where somebody's long transaction is in the way."""
        if self.database.dialect.name != "sqlite":
            return
        taken = await self.run(lambda: sqlite_file.measure(self.database))
        if taken.wal <= sqlite_file.WAL_BYTES:
            return
        # Beside the drain, which it doesn't keep from its turn; and no stop waits for it.
        checkpoint = sqlite_file.Checkpoint(self.database)
        try:
            done = await aside(checkpoint.run, "checkpoint")
        except asyncio.CancelledError:
            checkpoint.break_off()
            raise
        if not done:
            self.log("space.wal_large", bytes=taken.wal)

    async def note_clock(self) -> None:
        """Write down for the next daemon what is known of the clocks."""
        boot, notes = Owner.here().boot, self.confirmed.notes()
        await self.run(lambda: clock_notes.write(self.database, boot, notes))

    async def forget_statistics(self) -> None:
        """See to it that SQLite doesn't believe what somebody's ANALYZE said of another day."""
        if self.database.dialect.name == "sqlite":
            await self.run(lambda: sqlite_planner.forget_statistics(self.database))

    async def keep_reserve(self, *, first: bool = False) -> None:
        """Have the reserve of an SQLite file there, as far as its disk has the room."""
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
    """Writes down, minute by minute, what the drain has counted.

    What couldn't be written is in the next minute's row. A tally's session is over with it.
    """

    def __init__(
        self,
        database: Database,
        run: InDatabaseThread,
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
        # Of the database's thread from here on: a ring that is cut off still finishes there.
        self._written: dict[str, Totals] = {}
        self._longest: dict[str, float] = {}

    async def write(self) -> None:
        """Write what came since the last time, in the minute that most of that time was in."""
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
        if rows:  # whoever ships nothing writes nothing
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
    """Notices that the wall clock was set, and has it noted; told once a minute at most."""

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
        self._told_at = -inf

    async def look(self) -> None:
        """Compare the clocks."""
        self._confirmed.look()
        step, now = self._confirmed.ahead - self._ahead, self._clock()
        if abs(step) < _STEP_TOLD:
            return
        with suppress(ShipperError):  # a second later it is tried again
            await self._note()
            self._ahead += step
        if now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self._log("clock.set", seconds=round(step, 1), hint=_STEP_HINT)


class CredentialWatch:
    """Notices that a file with an API ID was replaced, and lets its destination try at once."""

    def __init__(
        self, files: Iterable[tuple[Route, Path]], clock: Callable[[], float], log: Log
    ) -> None:
        # Without a fingerprint at first: a file may have changed since its courier read it.
        self._files: list[tuple[Route, Path, Fingerprint | None]] = [
            (route, path, None) for route, path in files
        ]
        self._clock = clock
        self._log = log

    def look(self, dispatcher: Dispatcher) -> None:
        """Compare every file with what it was; a file that can't be read is told once a change."""
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


def fingerprint(path: Path) -> Fingerprint | None:
    """Return what changes when a file is written or replaced; None when it isn't there."""
    try:
        status = path.stat()
    except OSError:
        return None
    # Also what was made to look as old as the one before has another time of change.
    return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)

"""When each chore runs: by the clock of the event loop, which no process can set.

This module decides how often. Each chore has a task of its own that waits, runs the chore, and
waits again, so a chore is never overdue twice and never runs twice at once. A step of the wall
clock, even by years, costs at most one run in the wrong second of its minute. The schedule must
never depend on APScheduler's own clockwork, which reads the wall clock: after a step of a year it
lists each missed run (31 million for a chore that runs every second), and after a step back it
stands still. APScheduler only computes when the next delivery window opens.

Of several daemons on one outbox, one deletes events whose retention is over: `Session.leads`.

A reload doesn't restart the waits: the time of each chore's last run is kept.

While the machine sleeps, the loop's clock stops. A chore that becomes due meanwhile runs at most
one period after the machine wakes up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Final, NamedTuple, TypeAlias

from shipper.clock import Clock
from shipper.config import RetentionSettings
from shipper.config.secrets import files as files_of
from shipper.config.windows import Windows
from shipper.daemon import chores
from shipper.daemon.session import Session
from shipper.daemon.systemd import Heartbeat
from shipper.logs import Log
from shipper.observe.guard import Guard
from shipper.store.db.sqlite.opening import sqlite_library

MINUTE: Final = 60.0
# Seconds within which a window opens or closes after a step of the wall clock.
_WINDOWS_WITHIN: Final = 1.0
_CLOCK_EVERY: Final = 1.0
_CREDENTIALS_EVERY: Final = 2.0
_RESCAN_EVERY: Final = 300.0
# Bounds, in seconds, for a tenth of the shorter retention.
_RETAIN_LEAST, _RETAIN_MOST = 1.0, 600.0
_SPACE_EVERY: Final = 60.0
_WAL_EVERY: Final = 10.0  # for an SQLite with the WAL-reset bug, which must not checkpoint itself

ChoreCall = Callable[[], Awaitable[None] | None]
LastDone: TypeAlias = MutableMapping[str, float]
"""When each chore last ran, or its first wait began, by the loop's clock."""


class Chore(NamedTuple):
    """A chore, and a function that returns the seconds until its next run."""

    name: str
    chore: ChoreCall
    wait: Callable[[], float]
    at_once: bool = False
    """Whether it also runs before the first wait."""
    by_the_clock: bool = False
    """Whether it waits for a moment of the wall clock, whenever it last ran."""


@asynccontextmanager
async def scheduled(
    session: Session, clock: Clock, log: Log, heartbeat: Heartbeat, last: LastDone
) -> AsyncIterator[None]:
    """Run the chores while the session runs; stop them at its end.

    `last` is passed from one session to the next: otherwise frequent reloads would keep a rare
    chore from ever running.
    """
    windows = Windows.of(session.settings)
    _turn(session, windows, clock, log)
    tasks = [
        asyncio.create_task(repeat_chore(r, log, last))
        for r in _chores(session, windows, clock, log)
    ]
    tasks.append(asyncio.create_task(repeat_chore(_beats(session, heartbeat), log, last)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        # A step that runs in another thread ends by itself.
        await asyncio.gather(*tasks, return_exceptions=True)


async def repeat_chore(each: Chore, log: Log, last: LastDone) -> None:
    """Wait and run a chore, again and again; log a failing chore once, and run it again."""
    guard, now = Guard(each.name, log), asyncio.get_running_loop().time
    await asyncio.sleep(_first(each, last.setdefault(each.name, now()), now()))
    while True:
        with guard():
            done = each.chore()
            if done is not None:
                await done
        last[each.name] = now()
        await asyncio.sleep(each.wait())


def _first(each: Chore, last: float, now: float) -> float:
    """Return the seconds until a chore's first run; it last ran or began to wait at `last`."""
    if each.at_once:
        return 0.0
    return each.wait() if each.by_the_clock else max(0.0, last + each.wait() - now)


def every(seconds: float) -> Callable[[], float]:
    """Return a function that always returns the same wait."""
    return lambda: seconds


def next_minute(clock: Clock, within: float) -> Callable[[], float]:
    """Return a function that returns the seconds until the next minute, at most `within`."""
    return lambda: min(MINUTE - clock.wall() % MINUTE, within)


def _chores(session: Session, windows: Windows, clock: Clock, log: Log) -> list[Chore]:
    dispatcher, settings, upkeep = session.dispatcher, session.settings, session.upkeep
    keeps, has_fix = settings.retention, sqlite_library().wal_reset_safe
    watch = chores.ClockWatch(session.confirmed, upkeep.note_clock, clock.monotonic, log)
    chores_found = [
        Chore("look", lambda: chores.look(dispatcher), every(settings.schedule.poll_interval)),
        Chore("rescan", lambda: chores.rescan(dispatcher), every(_RESCAN_EVERY)),
        Chore("clock", watch.look, every(_CLOCK_EVERY)),
        Chore("retention", partial(_retain, session, keeps), every(retain_every(keeps))),
        Chore("space", upkeep.shorten_wal, every(_SPACE_EVERY if has_fix else _WAL_EVERY)),
        Chore("planner", upkeep.forget_statistics, every(_SPACE_EVERY)),
        Chore("reserve", upkeep.keep_reserve, every(_SPACE_EVERY)),
        Chore(
            "statistics", session.statistics.write, next_minute(clock, MINUTE), by_the_clock=True
        ),
        Chore("credentials", _credentials(session, clock, log), every(_CREDENTIALS_EVERY), True),
    ]
    if settings.schedule.windows:
        wait = next_minute(clock, _WINDOWS_WITHIN)
        turn = partial(_turn, session, windows, clock, log)
        chores_found.append(Chore("windows", turn, wait, by_the_clock=True))
    return chores_found


async def _retain(session: Session, keeps: RetentionSettings) -> None:
    """Delete what is over, if this daemon does the chores that only one may do."""
    if session.leads():
        await session.upkeep.retain(keeps)


def _turn(session: Session, windows: Windows, clock: Clock, log: Log) -> None:
    chores.open_or_close(session.dispatcher, windows.is_open(clock.wall()), log)


def _beats(session: Session, heartbeat: Heartbeat) -> Chore:
    return Chore("heartbeat", lambda: heartbeat.beat(session), every(heartbeat.every), True)


def _credentials(session: Session, clock: Clock, log: Log) -> ChoreCall:
    dispatcher = session.dispatcher
    watch = chores.CredentialWatch(
        [
            (dispatcher.routes[name], file)
            for name, destination in session.settings.destinations.items()
            for file in files_of(destination)
        ],
        clock.monotonic,
        log,
    )
    return lambda: watch.look(dispatcher)


def retain_every(keeps: RetentionSettings) -> float:
    """Return the seconds between two searches for events whose retention is over."""
    shortest = min((s for s in (keeps.delivered, keeps.dead) if s is not None), default=inf)
    return min(_RETAIN_MOST, max(_RETAIN_LEAST, shortest / 10))

"""When each chore is done. By the loop's clock, which nobody can set, whatever the wall clock does.

It decides how often. A step of the wall clock, by years, forward or back, costs at most one chore
that comes at the wrong moment of its minute: each has a task of its own that sleeps, does it, and
sleeps again, so none is ever owed, listed, or done twice at once. Nothing here may hang on
APScheduler's own clockwork: it reads the wall clock, lists each run that it has missed (of a chore
of every second, 31 million after a step of a year), and stands still after a step back. It computes
when the next delivery window opens, and that is all.

A machine that sleeps stops the loop's clock; what is due meanwhile comes at most one period after
it wakes up.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Final, NamedTuple

from shipper import chores
from shipper.clock import Clock
from shipper.config import RetentionSettings
from shipper.daemon.guard import Guard
from shipper.daemon.notify import Heartbeat
from shipper.daemon.session import Session
from shipper.daemon.windows import Windows
from shipper.logs import Log
from shipper.store.engine import sqlite_library

MINUTE: Final = 60.0
# After a step of the wall clock a window opens or closes within this.
_WINDOWS_WITHIN: Final = 1.0
_CLOCK_EVERY: Final = 1.0
_CREDENTIALS_EVERY: Final = 2.0
_PLIGHT_EVERY: Final = 1.0
_RESCAN_EVERY: Final = 300.0
# Ten times within the shorter retention, but not all the time.
_RETAIN_LEAST, _RETAIN_MOST = 1.0, 600.0
_SPACE_EVERY: Final = 60.0
_WAL_EVERY: Final = 10.0  # where an old SQLite must not do it by itself

Chore = Callable[[], Awaitable[None] | None]


class Ring(NamedTuple):
    """A chore, and how many seconds to wait before it is done, asked for anew each time."""

    name: str
    chore: Chore
    wait: Callable[[], float]
    at_once: bool = False
    """Whether it is done before the first wait, too."""


@asynccontextmanager
async def scheduled(
    session: Session, clock: Clock, log: Log, heartbeat: Heartbeat
) -> AsyncIterator[None]:
    """Have the chores done while the session runs; ends them with it."""
    windows = Windows.of(session.settings)
    _turn(session, windows, clock, log)
    tasks = [asyncio.create_task(ring(r, log)) for r in _rings(session, windows, clock, log)]
    tasks.append(asyncio.create_task(ring(_beats(session, heartbeat), log)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        # A step that is under way in another thread ends by itself.
        await asyncio.gather(*tasks, return_exceptions=True)


async def ring(each: Ring, log: Log) -> None:
    """Wait and do a chore, again and again; one that fails is told once, and done again."""
    guard = Guard(each.name, log)
    await asyncio.sleep(0.0 if each.at_once else each.wait())
    while True:
        with guard():
            done = each.chore()
            if done is not None:
                await done
        await asyncio.sleep(each.wait())


def every(seconds: float) -> Callable[[], float]:
    """Return a wait that is always the same."""
    return lambda: seconds


def next_minute(clock: Clock, within: float) -> Callable[[], float]:
    """Return a wait until the wall clock's next full minute, but never for longer than `within`."""
    return lambda: min(MINUTE - clock.wall() % MINUTE, within)


def _rings(session: Session, windows: Windows, clock: Clock, log: Log) -> list[Ring]:
    dispatcher, settings, upkeep = session.dispatcher, session.settings, session.upkeep
    keeps, cuts_itself = settings.retention, sqlite_library().wal_reset_safe
    watch = chores.ClockWatch(session.confirmed, upkeep.note_clock, clock.monotonic, log)
    rings = [
        Ring("look", lambda: chores.look(dispatcher), every(settings.schedule.poll_interval)),
        Ring("rescan", lambda: chores.rescan(dispatcher), every(_RESCAN_EVERY)),
        Ring("clock", watch.look, every(_CLOCK_EVERY)),
        Ring("retention", lambda: upkeep.retain(keeps), every(retain_every(keeps))),
        Ring("space", upkeep.shorten_wal, every(_SPACE_EVERY if cuts_itself else _WAL_EVERY)),
        Ring("planner", upkeep.forget_statistics, every(_SPACE_EVERY)),
        Ring("reserve", upkeep.keep_reserve, every(_SPACE_EVERY)),
        Ring("statistics", session.statistics.write, next_minute(clock, MINUTE)),
        Ring("credentials", _credentials(session, clock, log), every(_CREDENTIALS_EVERY), True),
    ]
    if (file := session.outbox.file) is not None:
        plights = chores.PlightWatch(file, session.tally, clock)
        rings.append(Ring("plight", plights.look, every(_PLIGHT_EVERY), True))
    if settings.schedule.windows:
        wait = next_minute(clock, _WINDOWS_WITHIN)
        rings.append(Ring("windows", lambda: _turn(session, windows, clock, log), wait))
    return rings


def _turn(session: Session, windows: Windows, clock: Clock, log: Log) -> None:
    chores.open_or_close(session.dispatcher, windows.is_open(clock.wall()), log)


def _beats(session: Session, heartbeat: Heartbeat) -> Ring:
    return Ring("heartbeat", lambda: heartbeat.beat(session), every(heartbeat.every), True)


def _credentials(session: Session, clock: Clock, log: Log) -> Chore:
    dispatcher = session.dispatcher
    watch = chores.CredentialWatch(
        [
            (dispatcher.routes[name], destination.api_id_file)
            for name, destination in session.settings.destinations.items()
            if destination.api_id_file is not None
        ],
        clock.monotonic,
        log,
    )
    return lambda: watch.look(dispatcher)


def retain_every(keeps: RetentionSettings) -> float:
    """Return how often to look for what is over, in seconds."""
    shortest = min((s for s in (keeps.delivered, keeps.dead) if s is not None), default=inf)
    return min(_RETAIN_MOST, max(_RETAIN_LEAST, shortest / 10))

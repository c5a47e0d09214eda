"""The daemon as a service: signals, the chores' scheduler, systemd; one session after another.

SIGTERM and SIGINT stop it cleanly, SIGHUP reads the configuration anew: what is in flight ends
first, and a configuration with faults is refused with the old one kept.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import inf

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from shipper import __version__, chores
from shipper.clock import Clock
from shipper.config import RetentionSettings, Settings
from shipper.daemon import alerts
from shipper.daemon.alarms import Alarms
from shipper.daemon.notify import Heartbeat, Notifier
from shipper.daemon.observers import observed
from shipper.daemon.renewal import renewing
from shipper.daemon.session import Session, open_session, try_out
from shipper.daemon.stops import Stops
from shipper.daemon.windows import Windows
from shipper.dispatcher.dispatcher import STOP_GRACE
from shipper.errors import (
    ConfigError,
    OutboxChanged,
    OutboxHeld,
    ShipperError,
    StoreUnavailable,
)
from shipper.logs import Log
from shipper.store.engine import sqlite_library
from shipper.web.survey import Audit

_CREDENTIALS_EVERY = 2.0
_RESCAN_EVERY = 300.0
# Ten times within the shorter retention, but not all the time.
_RETAIN_LEAST, _RETAIN_MOST = 1.0, 600.0
_SPACE_EVERY = 60.0
_WAL_EVERY = 10.0  # where an old SQLite must not do it by itself
# Between two sessions, where the outbox changes again and again.
_BEGIN_ANEW = 0.1
# Beyond what a clean stop takes: for the database, which may be busy just then.
_STOP_MARGIN = 30.0

Chore = Callable[[], Awaitable[None] | None]


async def serve(
    settings: Settings,
    *,
    clock: Clock,
    log: Log,
    reload: Callable[[], Settings] | None = None,
) -> None:
    """Run until stopped. `reload` reads the settings anew after a SIGHUP.

    Raises what `open_session` raises, and LeaseLost when another daemon has taken over.
    """
    service = _Service(clock, log, Notifier(), Audit.first(clock))
    stops, remark = service.listen(settings), ""
    while True:
        for problem in settings.warnings:
            log("config.warning", problem=problem)
        try:
            cut_off = await service.ship(settings, stops, remark)
        except OutboxChanged as error:
            # What is remembered is of another outbox than the one that is there now.
            log("store.changed", reason=error.message, hint=error.hint)
            with suppress(TimeoutError):
                async with asyncio.timeout(_BEGIN_ANEW):
                    await stops.event.wait()
            if stops.event.is_set():
                log("daemon.stopped", cut_off=0)
                return
            continue
        if stops.renewed is not None:
            settings, remark = stops.renewed, ""
            stops = service.listen(settings)
            continue
        if not stops.reload or reload is None:
            log("daemon.stopped", cut_off=cut_off)
            return
        # Before the file is read: a signal that comes from here on means the next session.
        stops = service.listen(settings)
        settings, remark = await _reloaded(settings, reload, clock, log)
        stops.settings = settings


@dataclass(frozen=True, slots=True)
class _Service:
    """What stays the same from one session to the next."""

    clock: Clock
    log: Log
    notify: Notifier
    audit: Audit
    alarms: Alarms = field(default_factory=Alarms)

    def listen(self, settings: Settings) -> Stops:
        """Return what the signals set from now on, for a session with these settings."""
        stops = Stops(settings)

        def stop(reason: str) -> None:
            self.log("daemon.stopping", reason=reason)
            self._tell_stopping(stops.settings)
            stops.stop(reason)

        def restart() -> None:
            self._tell_reloading()
            stops.restart()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, restart)
        return stops

    async def ship(self, settings: Settings, stops: Stops, remark: str) -> int:
        """Ship until told to stop; return how many tries were cut off."""
        opened, clock, log = False, self.clock, self.log
        heartbeat = Heartbeat(self.notify, clock.monotonic, stops.event.is_set, remark)
        # A session that takes over from another has the watchdog on while it opens.
        self.notify(WATCHDOG=1, STATUS="Taking the outbox")
        try:
            async with (
                open_session(
                    settings, clock=clock, log=log, stop=stops.event, waits=self._tell_waiting
                ) as session,
                scheduled(session, clock, log, heartbeat),
                renewing(settings, clock, log, stops.renew),
                observed(session, self.alarms, self.audit, clock, log),
            ):
                opened = True
                _tell_started(session, log)
                await session.upkeep.keep_reserve(first=True)
                self.notify(READY=1, STATUS=heartbeat.status(session))
                return await session.dispatcher.run(stops.event)
        except (StoreUnavailable, OutboxHeld):
            # Whoever ends the waiting for a database or a lease is not told that it was in vain.
            if opened or not stops.event.is_set():
                raise
            return 0

    def _tell_waiting(self, reason: str) -> None:
        self.notify(WATCHDOG=1, STATUS=f"Waiting: {reason}")

    def _tell_stopping(self, settings: Settings) -> None:
        """Ask for the time that a clean stop takes at most."""
        timeout = max(destination.timeout for destination in settings.destinations.values())
        self.notify(
            STOPPING=1,
            STATUS="Stopping: what is in flight may finish",
            EXTEND_TIMEOUT_USEC=round((timeout + STOP_GRACE + _STOP_MARGIN) * 1e6),
        )

    def _tell_reloading(self) -> None:
        self.notify(
            RELOADING=1,
            MONOTONIC_USEC=round(asyncio.get_running_loop().time() * 1e6),
            STATUS="Reading the configuration anew: what is in flight may finish",
        )


async def _reloaded(
    settings: Settings, reload: Callable[[], Settings], clock: Clock, log: Log
) -> tuple[Settings, str]:
    """Return the settings to go on with, and what `systemctl status` is to say about that."""
    path, refused = str(settings.path), "the new configuration is refused, see the journal"
    try:
        fresh = reload()
        Windows(fresh.schedule.windows)
        alerts.hooks(fresh.alerts)
        await try_out(fresh, clock)
    except ConfigError as error:
        log("config.rejected", path=path, problems=error.problems)
        return settings, refused
    except ShipperError as error:
        log("config.rejected", path=path, problems=[error.message])
        return settings, refused
    log("config.reloaded", path=path)
    return fresh, ""


def _tell_started(session: Session, log: Log) -> None:
    log(
        "daemon.started",
        version=__version__,
        database=session.database,
        destinations=sorted(session.settings.destinations),
    )
    if session.recovered:
        log("daemon.recovered", maybe_received=session.recovered)


@asynccontextmanager
async def scheduled(
    session: Session, clock: Clock, log: Log, heartbeat: Heartbeat
) -> AsyncIterator[None]:
    """Ring the chores while the session runs.

    APScheduler reads the wall clock, drops what is late and cancels what runs when it is shut
    down; so it only ever rings, and every job may come late.
    """
    scheduler = AsyncIOScheduler(
        timezone="UTC",
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    dispatcher, settings, bell = session.dispatcher, session.settings, _Bell(log)
    windows = Windows(settings.schedule.windows)
    watch = chores.CredentialWatch(
        [
            (dispatcher.routes[name], destination.api_id_file)
            for name, destination in settings.destinations.items()
            if destination.api_id_file is not None
        ],
        clock.monotonic,
        log,
    )

    def turn_windows() -> None:
        chores.open_or_close(dispatcher, windows.is_open(clock.wall()), log)

    def ring(name: str, chore: Chore, seconds: float) -> None:
        trigger = IntervalTrigger(seconds=seconds, timezone="UTC")
        scheduler.add_job(bell.rings(name, chore), trigger, id=name)

    ring("look", lambda: chores.look(dispatcher), settings.schedule.poll_interval)
    ring("rescan", lambda: chores.rescan(dispatcher), _RESCAN_EVERY)
    keeps, upkeep = settings.retention, session.upkeep
    ring("retention", lambda: upkeep.retain(keeps), _retain_every(keeps))
    cuts_itself = sqlite_library().wal_reset_safe
    ring("space", upkeep.shorten_wal, _SPACE_EVERY if cuts_itself else _WAL_EVERY)
    ring("planner", upkeep.forget_statistics, _SPACE_EVERY)
    ring("reserve", upkeep.keep_reserve, _SPACE_EVERY)
    # These two must not fall silent when somebody sets the wall clock back.
    beats = _every(heartbeat.every, lambda: heartbeat.beat(session), "heartbeat", log)
    reads = _every(_CREDENTIALS_EVERY, lambda: watch.look(dispatcher), "credentials", log)
    turn_windows()
    every_minute = CronTrigger.from_crontab("* * * * *", timezone="UTC")
    scheduler.add_job(
        bell.rings("statistics", session.statistics.write), every_minute, id="statistics"
    )
    if settings.schedule.windows:
        scheduler.add_job(bell.rings("windows", turn_windows), every_minute, id="windows")
    scheduler.start()
    tickers = [asyncio.create_task(ticker) for ticker in (beats, reads)]
    try:
        yield
    finally:
        for ticker in tickers:
            ticker.cancel()
        scheduler.shutdown(wait=False)
        await bell.silence()


class _Bell:
    """Does chores in the loop when they are rung for.

    As coroutines, because APScheduler runs anything else in a thread, where the drain's state must
    not be touched; and what takes time as tasks of ours, because it complains of what it cancels.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def rings(self, name: str, chore: Chore) -> Callable[[], Awaitable[None]]:
        """Return what APScheduler calls: it begins the chore, unless that is still being done."""

        async def ring() -> None:
            if name not in self._tasks:
                task = self._tasks[name] = asyncio.create_task(self._do(name, chore))
                task.add_done_callback(lambda _: self._tasks.pop(name))

        return ring

    async def _do(self, name: str, chore: Chore) -> None:
        with chores.guarding(name, self._log):
            done = chore()
            if done is not None:
                await done

    async def silence(self) -> None:
        """End what is being done; a step that is under way in another thread ends by itself."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _retain_every(keeps: RetentionSettings) -> float:
    """Return how often to look for what is over, in seconds."""
    shortest = min((s for s in (keeps.delivered, keeps.dead) if s is not None), default=inf)
    return min(_RETAIN_MOST, max(_RETAIN_LEAST, shortest / 10))


async def _every(seconds: float, chore: Callable[[], None], name: str, log: Log) -> None:
    """Do a chore again and again, by the loop's clock, which nobody can set."""
    run = chores.guarded(name, chore, log)
    while True:
        run()
        await asyncio.sleep(seconds)

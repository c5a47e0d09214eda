"""The daemon as a service: signals, the chores' scheduler, systemd; one session after another.

SIGTERM and SIGINT stop it cleanly, SIGHUP reads the configuration anew: what is in flight ends
first, and a configuration with faults is refused with the old one kept.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from shipper import __version__, chores
from shipper.clock import Clock
from shipper.config import Settings
from shipper.daemon.notify import Notifier
from shipper.daemon.session import Session, open_session, try_out
from shipper.daemon.windows import Windows
from shipper.errors import ConfigError, OutboxHeld, ShipperError, StoreUnavailable
from shipper.logs import Log

_CREDENTIALS_EVERY = 2.0
_RESCAN_EVERY = 300.0
# Several times within the unit's WatchdogSec=60.
_HEARTBEAT_EVERY = 10.0


class Stops:
    """What ends a session: a stop for good, or a wish to begin anew with new settings."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reload = False
        self.reason = ""

    def stop(self, reason: str) -> None:
        """End the session, and the service with it."""
        self.reload = False
        self.reason = reason
        self.event.set()

    def restart(self) -> None:
        """End the session, to begin anew; a stop that was asked for already wins."""
        if not self.event.is_set():
            self.reload = True
            self.reason = "SIGHUP"
            self.event.set()


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
    notify = Notifier()
    while True:
        current = Stops()
        _on_signals(current, log)
        for problem in settings.warnings:
            log("config.warning", problem=problem)
        cut_off = await _run_session(settings, clock, log, notify, current.event)
        if not current.reload or reload is None:
            notify(STOPPING=1)
            log("daemon.stopped", cut_off=cut_off)
            return
        settings = await _reloaded(settings, reload, clock, log)


async def _run_session(
    settings: Settings, clock: Clock, log: Log, notify: Notifier, stop: asyncio.Event
) -> int:
    """Ship until `stop`; return how many tries were cut off."""
    opened = False
    try:
        async with (
            open_session(settings, clock=clock, log=log, stop=stop) as session,
            scheduled(session, clock, log, notify),
        ):
            opened = True
            _tell_started(session, log)
            notify(READY=1, STATUS="Shipping")
            return await session.dispatcher.run(stop)
    except (StoreUnavailable, OutboxHeld):
        # Whoever ends the waiting for a database or a lease is not told that it was in vain.
        if opened or not stop.is_set():
            raise
        return 0


def _on_signals(stops: Stops, log: Log) -> None:
    def stop(reason: str) -> None:
        log("daemon.stopping", reason=reason)
        stops.stop(reason)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    loop.add_signal_handler(signal.SIGHUP, stops.restart)


async def _reloaded(
    settings: Settings, reload: Callable[[], Settings], clock: Clock, log: Log
) -> Settings:
    path = str(settings.path)
    try:
        fresh = reload()
        Windows(fresh.schedule.windows)
        await try_out(fresh, clock)
    except ConfigError as error:
        log("config.rejected", path=path, problems=error.problems)
        return settings
    except ShipperError as error:
        log("config.rejected", path=path, problems=[error.message])
        return settings
    log("config.reloaded", path=path)
    return fresh


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
    session: Session, clock: Clock, log: Log, notify: Notifier
) -> AsyncIterator[None]:
    """Ring the chores while the session runs.

    APScheduler reads the wall clock, drops what is late and cancels what runs when it is shut
    down; so it only ever rings, and every job may come late.
    """
    scheduler = AsyncIOScheduler(
        timezone="UTC",
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    dispatcher, settings = session.dispatcher, session.settings
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

    def ring(name: str, chore: Callable[[], None], seconds: float) -> None:
        trigger = IntervalTrigger(seconds=seconds, timezone="UTC")
        scheduler.add_job(chores.guarded(name, chore, log), trigger, id=name)

    ring("look", lambda: chores.look(dispatcher), settings.schedule.poll_interval)
    ring("rescan", lambda: chores.rescan(dispatcher), _RESCAN_EVERY)
    heartbeat = chores.Heartbeat(notify)
    # These two must not fall silent when somebody sets the wall clock back.
    beats = _every(_HEARTBEAT_EVERY, lambda: heartbeat.beat(dispatcher), "heartbeat", log)
    reads = _every(_CREDENTIALS_EVERY, lambda: watch.look(dispatcher), "credentials", log)
    turn_windows()
    if settings.schedule.windows:
        every_minute = CronTrigger.from_crontab("* * * * *", timezone="UTC")
        scheduler.add_job(chores.guarded("windows", turn_windows, log), every_minute, id="windows")
    scheduler.start()
    tickers = [asyncio.create_task(ticker) for ticker in (beats, reads)]
    try:
        yield
    finally:
        for ticker in tickers:
            ticker.cancel()
        scheduler.shutdown(wait=False)


async def _every(seconds: float, chore: Callable[[], None], name: str, log: Log) -> None:
    """Do a chore again and again, by the loop's clock, which nobody can set."""
    run = chores.guarded(name, chore, log)
    while True:
        run()
        await asyncio.sleep(seconds)

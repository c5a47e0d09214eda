"""The daemon as a service: signals, systemd; one session after another.

SIGTERM and SIGINT stop it cleanly, SIGHUP reads the configuration anew: what is in flight ends
first, and a configuration with faults is refused with the old one kept.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from shipper import __version__
from shipper.clock import Clock
from shipper.config import Settings
from shipper.confirmed import Confirmed
from shipper.daemon import alerts
from shipper.daemon.alarms import Alarms
from shipper.daemon.notify import Heartbeat, Notifier
from shipper.daemon.observers import observed
from shipper.daemon.renewal import renewing
from shipper.daemon.schedule import scheduled
from shipper.daemon.session import Session, open_session, try_out
from shipper.daemon.stops import Stops
from shipper.daemon.strays import Strays, watched
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
from shipper.web.survey import Audit

# Between two sessions, where the outbox changes again and again.
_BEGIN_ANEW = 0.1
# Beyond what a clean stop takes: for the database, which may be busy just then.
_STOP_MARGIN = 30.0


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
    service = _Service(clock, log, Notifier(), Audit.first(clock), Confirmed(clock))
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
    confirmed: Confirmed
    alarms: Alarms = field(default_factory=Alarms)
    strays: Strays = field(default_factory=Strays)

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
                    settings,
                    clock=clock,
                    log=log,
                    stop=stops.event,
                    waits=self._tell_waiting,
                    confirmed=self.confirmed,
                ) as session,
                scheduled(session, clock, log, heartbeat),
                renewing(settings, clock, log, stops.renew),
                observed(session, self.alarms, self.audit, clock, log, announced=not remark),
                watched(session, self.strays, log),
            ):
                opened = True
                if not remark:  # else it goes on as it was, and has said so
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
        Windows.of(fresh)
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

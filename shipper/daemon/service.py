"""The daemon as a service: its signals, its sessions, and its reports to systemd.

SIGTERM and SIGINT stop the daemon cleanly. SIGHUP reads the configuration again while the session
ships on: only the parts that changed are replaced. A configuration that can't be used must never
end the session: the daemon rejects it, and the old one stays in force. A configuration
that names another outbox starts a new session, which takes that outbox before the old session ends.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from typing import NamedTuple

from shipper import __version__
from shipper.clock import Clock
from shipper.config import Settings
from shipper.daemon import held_back, links_elsewhere, other_daemons, unknown_destinations
from shipper.daemon import reload as reloading
from shipper.daemon.acquisition import REACH_WITHIN, Taking
from shipper.daemon.file_watch import watch_files
from shipper.daemon.held_back import HeldBack
from shipper.daemon.observers import observed
from shipper.daemon.other_daemons import OtherDaemons
from shipper.daemon.reload import Change
from shipper.daemon.requests import ReloadRequest, Requests, unless_over
from shipper.daemon.schedule import scheduled
from shipper.daemon.session import Session, open_session
from shipper.daemon.systemd import Heartbeat, Notifier
from shipper.daemon.unknown_destinations import UnknownDestinations
from shipper.errors import AccessDenied, OutboxChanged, OutboxHeld, SchemaError, StoreUnavailable
from shipper.logs import Log
from shipper.observe import alerts
from shipper.observe.alarms import Alarms
from shipper.observe.alerts import Hooks
from shipper.observe.guard import alongside
from shipper.observe.survey import Audit
from shipper.system.confirmed_time import Confirmed

# Seconds between two sessions if the outbox was replaced, so that repeated changes don't spin.
_RESTART_AFTER = 0.1
# Seconds between renewals of the lease of a session that waits for the end of the old one.
_PROLONG_EVERY = 5.0
_REOPEN_AFTER = 5.0
_DATABASE_AWAY = (StoreUnavailable, AccessDenied, SchemaError)
_REFUSED = "the new configuration is rejected, see the journal"


async def serve(
    settings: Settings,
    *,
    clock: Clock,
    log_of: Callable[[Settings], Log],
    reload: Callable[[], Settings],
) -> None:
    """Run until stopped. After a SIGHUP, `reload` reads the settings; `log_of` opens their log.

    Raises the errors of `open_session`, and LeaseLost when another daemon has taken over.
    """
    log = log_of(settings)
    service = _Service(settings, clock, log, log_of, reload)
    service.listen()
    service.warn(settings)
    within = REACH_WITHIN
    while True:
        try:
            cut_off = await service.ship(within)
        except (OutboxChanged, *_DATABASE_AWAY) as error:
            # The session's memory belongs to an outbox that was replaced; or the new session's
            # outbox became unreachable while that session began.
            is_change = isinstance(error, OutboxChanged)
            if not is_change and within < inf:
                raise
            log("store.changed", reason=error.message, hint=error.hint)
            within = inf
            if not await service.requests.wait(_RESTART_AFTER if is_change else _REOPEN_AFTER):
                continue
            cut_off = 0
        log("daemon.stopped", cut_off=cut_off)
        return


class _Opened(NamedTuple):
    """A session that holds its outbox until `closing` is left, and its alert clients."""

    session: Session
    hooks: Hooks
    closing: AsyncExitStack


class _Service:
    """The state that passes from one session to the next."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        log: Log,
        log_of: Callable[[Settings], Log],
        reload: Callable[[], Settings],
    ) -> None:
        self.requests = Requests(settings)
        self._clock = clock
        self._log = log
        self._log_of = log_of
        self._reload = reload
        self._notify = Notifier()
        self._audit = Audit.first(clock)
        self._confirmed = Confirmed(clock)
        self._alarms = Alarms()
        self._unknown, self._held_back = UnknownDestinations(), HeldBack()
        self._others = OtherDaemons()
        self._last_done: dict[str, float] = {}
        self._remark = ""
        self._unlogged_start: Session | None = None  # begun, but not logged yet
        self._unlogged_reload: ReloadRequest | None = None  # applied, but not logged yet

    # -- signals --------------------------------------------------------------------------------

    def listen(self) -> None:
        """Handle the signals from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self.requests.reload)

    def _stop(self, reason: str) -> None:
        self._log("daemon.stopping", reason=reason)
        self._notify.stopping(self.requests.timeout)
        self.requests.stop()

    # -- one session after another ----------------------------------------------------------------

    async def ship(self, within: float) -> int:
        """Ship until a stop; return how many tries were cut off.

        Wait for the database for at most `within` seconds.
        """
        settings = self.requests.settings
        # The watchdog is already active while a session opens after another one.
        self._notify(WATCHDOG=1, STATUS="Taking the outbox")
        try:
            following: _Opened | None = await self._open(settings, within)
            while following is not None:
                cut_off, following = await self._run(following)
        except (*_DATABASE_AWAY, OutboxHeld):
            # A stop ended the wait for a database or a lease: that is no failure.
            if not self.requests.event.is_set():
                raise
            return 0
        return cut_off

    async def _open(self, settings: Settings, within: float) -> _Opened:
        hooks = await reloading.checked_hooks(settings, self._clock)
        session = open_session(
            settings,
            clock=self._clock,
            log=self._log,
            stop=self.requests.event,
            on_wait=self._notify.waiting,
            confirmed=self._confirmed,
            taking=Taking(within, alone=False),
        )
        closing = AsyncExitStack()
        try:
            return _Opened(await closing.enter_async_context(session), hooks, closing)
        except BaseException:
            await alerts.close(hooks)
            raise

    async def _run(self, opened: _Opened) -> tuple[int, _Opened | None]:
        """Run a session to its end; return how many tries were cut off, and the next session."""
        session, ending = opened.session, self.requests.session()
        async with opened.closing:
            await session.upkeep.keep_reserve(first=True)
            drain = asyncio.create_task(session.dispatcher.run(ending))
            try:
                following = await self._look_after(opened, drain, ending)
                return (await drain if following is None else 0), following
            finally:
                drain.cancel()
                await asyncio.gather(drain, return_exceptions=True)

    async def _look_after(
        self, opened: _Opened, drain: "asyncio.Task[int]", ending: asyncio.Event
    ) -> _Opened | None:
        """Apply changes while a session ships; return the session that follows it, if any."""
        session, hooks = opened.session, opened.hooks
        self._unlogged_start = session
        while True:
            async with self._around(session, hooks) as status:
                self._log_begun(session)
                self._notify(READY=1, STATUS=status())
                await session.leave_old_address()
                change = await self._next_change(session, drain, status)
                if isinstance(change, _Opened):
                    ending.set()
                    change.session.budget.dispatchers.append(session.dispatcher)
                    await self._ended(drain, change)
                    return change
            if change is None:
                return None
            if drain.done():  # it ended while the change was prepared
                await change.ready.aclose()
                return None
            session.take(change.ready.fresh, change.links)
            hooks = change.ready.hooks

    async def _ended(self, drain: "asyncio.Task[int]", following: _Opened) -> None:
        """Wait until a session has ended; its failure must not end the session that follows."""
        try:
            while not (await asyncio.wait({drain}, timeout=_PROLONG_EVERY))[0]:
                await following.session.prolong()
        except BaseException:
            await following.closing.aclose()
            raise
        if not drain.cancelled() and (error := drain.exception()) is not None:
            self._log("store.changed", reason=reloading.reason_of(error))

    @asynccontextmanager
    async def _around(self, session: Session, hooks: Hooks) -> AsyncIterator[Callable[[], str]]:
        """Run the chores and the observers of a session, as its settings say."""
        clock, log = self._clock, self._log
        heartbeat = Heartbeat(
            self._notify, clock.monotonic, self.requests.event.is_set, lambda: self._remark
        )
        async with (
            scheduled(session, clock, log, heartbeat, self._last_done),
            alongside(watch_files(session.seen, self.requests.reread, log)),
            observed(session, self._alarms, self._audit, hooks, clock, log),
            alongside(unknown_destinations.watch(session, self._unknown, log)),
            alongside(held_back.watch(session, self._held_back, log)),
            alongside(other_daemons.watch(session, self._others, log)),
            alongside(links_elsewhere.watch(session, log)),
        ):
            yield lambda: heartbeat.status(session)

    # -- reloads ----------------------------------------------------------------------------------

    async def _next_change(
        self, session: Session, drain: "asyncio.Task[int]", status: Callable[[], str]
    ) -> Change | _Opened | None:
        """Wait for a change that can be applied; None if the drain has ended."""
        while (request := await unless_over(self.requests.next(), drain)) is not None:
            if request.reload:
                self._notify.reloading(asyncio.get_running_loop().time())
            try:
                return await unless_over(self._prepare(request, session), drain)
            except Exception as error:  # noqa: BLE001 - after any error the session ships on
                reloading.refuse(request, session.settings, error, self._log)
            if request.reload:
                self._remark = _REFUSED
                self._notify(READY=1, STATUS=status())
        return None

    async def _prepare(self, request: ReloadRequest, session: Session) -> Change | _Opened:
        settings = self._reload() if request.reload else reloading.renewed(session.settings)
        change: Change | _Opened
        if request.reload and await reloading.is_elsewhere(settings, session):
            async with reloading.answered():
                change = await self._open(settings, within=0.0)
        else:
            change = await reloading.changed(settings, session)
        self.requests.take(settings)
        self._unlogged_reload = request
        if request.reload:
            self._remark = ""
            self._log.become(self._log_of(settings))
            session.dispatcher.probe_at_once()
        return change

    def _log_begun(self, session: Session) -> None:
        """Log the session that began and the reload that was applied, once each."""
        begun, self._unlogged_start = self._unlogged_start, None
        if begun is not None:
            _log_started(begun, self._log)
        request, self._unlogged_reload = self._unlogged_reload, None
        settings = session.settings
        if request is not None and request.reload:
            self._log("config.reloaded", path=str(settings.path))
            self.warn(settings)
        elif request is not None:
            self._log("file.changed", paths=request.changed)

    def warn(self, settings: Settings) -> None:
        """Log the warnings about a configuration: each names a setting that is valid but risky."""
        for problem in settings.warnings:
            self._log("config.warning", problem=problem)


def _log_started(session: Session, log: Log) -> None:
    log(
        "daemon.started",
        version=__version__,
        database=session.database,
        destinations=sorted(session.settings.destinations),
    )
    if session.recovered:
        log("daemon.recovered", maybe_received=session.recovered)

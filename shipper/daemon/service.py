"""The daemon as a service: signals, systemd; a session, and what is taken in while it ships.

SIGTERM and SIGINT stop it cleanly. SIGHUP reads the configuration anew while the session ships on:
what is another by then is replaced, the rest isn't touched, and a configuration that can't be used,
whatever is wrong with it, is refused with the old one kept. Only another outbox is another session:
it is opened before the old one is ended.
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
from shipper.daemon import held_back, unknown_destinations
from shipper.daemon import reload as reloading
from shipper.daemon.acquisition import REACH_WITHIN
from shipper.daemon.file_watch import watch_files
from shipper.daemon.held_back import HeldBack
from shipper.daemon.observers import observed
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

# Between two sessions, where the outbox changes again and again.
_RESTART_AFTER = 0.1
# A session that has its lease, and waits for the end of another.
_PROLONG_EVERY = 5.0
_REOPEN_AFTER = 5.0
_DATABASE_AWAY = (StoreUnavailable, AccessDenied, SchemaError)
_REFUSED = "the new configuration is refused, see the journal"


async def serve(
    settings: Settings,
    *,
    clock: Clock,
    log_of: Callable[[Settings], Log],
    reload: Callable[[], Settings],
) -> None:
    """Run until stopped. `reload` reads the settings anew after a SIGHUP; `log_of` opens their log.

    Raises what `open_session` raises, and LeaseLost when another daemon has taken over.
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
            # What is remembered is of another outbox than the one that is there now; or that one
            # went away while the session which is to follow was beginning.
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
    """A session that holds its outbox until `closing` is left, and who is told of its alarms."""

    session: Session
    hooks: Hooks
    closing: AsyncExitStack


class _Service:
    """What stays the same from one session to the next."""

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
        self._last_done: dict[str, float] = {}
        self._remark = ""
        self._begun: Session | None = None  # and nobody has been told so
        self._applied: ReloadRequest | None = None  # the same

    # -- what it is told ------------------------------------------------------------------------

    def listen(self) -> None:
        """Take in what the signals ask for, from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self.requests.reload)

    def _stop(self, reason: str) -> None:
        self._log("daemon.stopping", reason=reason)
        self._notify.stopping(self.requests.timeout)
        self.requests.stop()

    # -- one session after the other --------------------------------------------------------------

    async def ship(self, within: float) -> int:
        """Ship until told to stop; return how many tries were cut off.

        The outbox is waited for `within` so many seconds.
        """
        settings = self.requests.settings
        # A session that takes over from another has the watchdog on while it opens.
        self._notify(WATCHDOG=1, STATUS="Taking the outbox")
        try:
            following: _Opened | None = await self._open(settings, within)
            while following is not None:
                cut_off, following = await self._run(following)
        except (*_DATABASE_AWAY, OutboxHeld):
            # Whoever ends the waiting for a database or a lease is not told that it was in vain.
            if not self.requests.event.is_set():
                raise
            return 0
        return cut_off

    async def _open(self, settings: Settings, within: float) -> _Opened:
        hooks = await reloading.sound(settings, self._clock)
        session = open_session(
            settings,
            clock=self._clock,
            log=self._log,
            stop=self.requests.event,
            on_wait=self._notify.waiting,
            confirmed=self._confirmed,
            within=within,
        )
        closing = AsyncExitStack()
        try:
            return _Opened(await closing.enter_async_context(session), hooks, closing)
        except BaseException:
            await alerts.close(hooks)
            raise

    async def _run(self, opened: _Opened) -> tuple[int, _Opened | None]:
        """Run a session to its end; return how many tries were cut off, and who follows it."""
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
        """Take in what changes while a session ships; return who follows it, None for nobody."""
        session, hooks = opened.session, opened.hooks
        self._begun = session
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
            if drain.done():  # meanwhile
                await change.ready.aclose()
                return None
            session.take(change.ready.fresh, change.links)
            hooks = change.ready.hooks

    async def _ended(self, drain: "asyncio.Task[int]", following: _Opened) -> None:
        """Wait until a session has ended; its trouble isn't the one's that follows it."""
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
        """Have the chores done, and others look at a session, as its settings say."""
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
        ):
            yield lambda: heartbeat.status(session)

    # -- what is read anew ------------------------------------------------------------------------

    async def _next_change(
        self, session: Session, drain: "asyncio.Task[int]", status: Callable[[], str]
    ) -> Change | _Opened | None:
        """Wait for something that can be used; None where the drain has ended."""
        while (request := await unless_over(self.requests.next(), drain)) is not None:
            if request.reload:
                self._notify.reloading(asyncio.get_running_loop().time())
            try:
                return await unless_over(self._read_anew(request, session), drain)
            except Exception as error:  # noqa: BLE001 - whatever it is, the session ships on
                reloading.refuse(request, session.settings, error, self._log)
            if request.reload:
                self._remark = _REFUSED
                self._notify(READY=1, STATUS=status())
        return None

    async def _read_anew(self, request: ReloadRequest, session: Session) -> Change | _Opened:
        settings = self._reload() if request.reload else reloading.renewed(session.settings)
        change: Change | _Opened
        if request.reload and await reloading.is_elsewhere(settings, session):
            async with reloading.answered():
                change = await self._open(settings, within=0.0)
        else:
            change = await reloading.changed(settings, session)
        self.requests.take(settings)
        self._applied = request
        if request.reload:
            self._remark = ""
            self._log.become(self._log_of(settings))
            session.dispatcher.probe_at_once()
        return change

    def _log_begun(self, session: Session) -> None:
        """Tell what has begun to be so, once it is."""
        begun, self._begun = self._begun, None
        if begun is not None:
            _log_started(begun, self._log)
        request, self._applied = self._applied, None
        settings = session.settings
        if request is not None and request.reload:
            self._log("config.reloaded", path=str(settings.path))
            self.warn(settings)
        elif request is not None:
            self._log("file.changed", paths=request.changed)

    def warn(self, settings: Settings) -> None:
        """Tell what of a configuration is allowed and unwise."""
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

"""`shipper drain`: ship the pending events, then end.

It decides when to stop waiting: when no event is left, or only events that need an operator. If
daemons ship the outbox, this command only watches them. If the last of them ends meanwhile, this
command takes over. It must never ship beside a daemon: it does none of the chores that one of them
has to do, such as the alarms.
"""

import asyncio
import shlex
import signal
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from shipper.cli.commands.run import run_loop
from shipper.cli.input.arguments import Duration
from shipper.cli.input.pending import STUCK, STUCK_WORDS, PendingEvents, PendingView
from shipper.cli.output.context import Context
from shipper.cli.output.progress import Bar, progress_bar
from shipper.clock import SystemClock
from shipper.config import Settings
from shipper.daemon import Stop, open_session
from shipper.daemon.acquisition import Taking
from shipper.daemon.stop_budget import STORE_GRACE
from shipper.drain import Dispatcher, Route
from shipper.errors import OutboxHeld, StoreUnavailable
from shipper.logs import Log, open_log
from shipper.observe.troubles import NAMED, named
from shipper.store.db.opening import Database
from shipper.store.report.daemons import current_daemon, shipping, ships
from shipper.store.report.holds import keys_held
from shipper.store.report.progress import EndedCounts, ended_counts
from shipper.store.report.silence import find_silence
from shipper.store.report.status import commit_blockers
from shipper.system.background import aside
from shipper.system.stderr import flush_stderr, unblock_stderr
from shipper.system.waiting import is_set_within
from shipper.wording.quantities import count, plural
from shipper.wording.safe_text import printable

STILL_PENDING = 75
SOME_DIED = 1

_LOOK_EVERY = 0.25
_GLANCE_EVERY = 0.02
_HANGS = 30.0  # seconds for which the watched daemon has written nothing
_FAILURES_MAX = 20  # in a row: five seconds and more

T = TypeVar("T")


def drain(*, timeout: Duration = None, context: Context) -> int:
    """Ship the pending events, then end. Delivery windows are ignored.

    If a daemon is running or starts meanwhile, that daemon ships, and this command only
    watches it; on PostgreSQL, any number of daemons.
    Without --timeout it ends when no event is left, or only events that are held or
    whose destination is offline or paused. Exit status 75 if events are still
    pending, else 1 if events became dead letters meanwhile, else 0.

    Parameters
    ----------
    timeout
        How long to wait for all events, like 30s or 5m; then it ends in any case.
    """
    unblock_stderr()
    settings = context.settings()
    with context.engine() as engine:
        before = ended_counts(engine)
        clock = SystemClock()
        view = PendingView(engine, settings, clock)
        pending = view.ask(lambda _: sum(left.pending for left in view.left()))
        with progress_bar(context, pending) as bar:
            log = _log(context, settings, bar)
            run_loop(Drainer(view, log, bar, timeout, context.note).run())
        flush_stderr()  # before the answer, on the same terminal
        return _report(context, view, before)


def _log(context: Context, settings: Settings, bar: Bar | None) -> Log:
    quiet = "critical" if bar is not None else "warning"  # a log line would break the progress bar
    return open_log(settings.log.level if context.verbosity > 0 else quiet, settings.log.format)


class Drainer:
    """Ships, or watches daemons that ship, until nothing is left to wait for."""

    def __init__(
        self,
        view: PendingView,
        log: Log,
        bar: Bar | None,
        timeout: float | None,
        note: Callable[[str], None],
    ) -> None:
        self._view = view
        self._log = log
        self._bar = bar
        self._timeout = timeout
        self._note = note
        self._stop = Stop()
        self._asking = asyncio.Lock()

    async def run(self) -> None:
        """Return when nothing is left to wait for; raises StoreUnavailable."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.ask)
        if self._timeout is not None:
            loop.call_later(self._timeout, self._stop.set)
        bar = loop.create_task(self._update_bar())
        try:
            await self._ship_or_watch()
            if self._stop.is_set():
                await self._require_answer()
        finally:
            bar.cancel()
            await asyncio.gather(bar, return_exceptions=True)

    async def _require_answer(self) -> None:
        """Raise StoreUnavailable if the database doesn't answer soon: a stop must not hang."""
        try:
            async with asyncio.timeout(STORE_GRACE):
                await self._ask(ended_counts)
        except TimeoutError:
            raise StoreUnavailable(
                f"the database didn't answer within {STORE_GRACE:g} s",
                "no event is lost; check the database server, then: shipper status",
            ) from None

    async def _ship_or_watch(self) -> None:
        watched: str | None = None
        while True:
            try:
                if not await self._ship():
                    continue  # the daemon that has joined ships from now on
            except OutboxHeld:
                daemons = await self._ask(shipping)
                they = ships(daemons)
                if daemons and they != watched:
                    it = "it" if len(daemons) == 1 else "them"
                    self._note(f"{they} this outbox; watching {it}")
                    watched = they
                if not await self._watch():
                    await self._pause()  # the holder may not be recorded yet
                    continue
            return

    async def _ship(self) -> bool:
        """Return True when nothing is left to wait for, False once a daemon has joined."""
        # It doesn't wait for a database or a lease (`within`): the operator can repeat the command.
        view = self._view
        async with open_session(
            view.settings,
            clock=view.clock,
            log=self._log,
            stop=self._stop,
            taking=Taking(within=0.0),
        ) as session:
            over = asyncio.create_task(self._until_over(session.dispatcher))
            try:
                await session.dispatcher.run(
                    self._stop, until=lambda: over.done() or _is_joined(session.dispatcher)
                )
                is_over = over.done() or self._stop.is_set()
            finally:
                over.cancel()
                await asyncio.gather(over, return_exceptions=True)
        if not over.cancelled():
            over.result()
        return is_over

    async def _watch(self) -> bool:
        """Return True when nothing is left to wait for, False when no daemon ships any more."""
        seen: EndedCounts | None = None
        while not self._stop.is_set():
            now = await self._ask(ended_counts)
            # Counting pending events is slow. While the counters change, some are left anyway.
            if now == seen and await self._ask(self._nothing_to_wait_for):
                return True
            if await self._ask(current_daemon) is None:
                return False
            if self._timeout is None and await self._ask(_stands_still):
                return True
            seen = now
            await self._pause()
        return True

    async def _pause(self) -> None:
        await is_set_within(self._stop, _LOOK_EVERY)

    async def _until_over(self, dispatcher: Dispatcher) -> None:
        """Return when nothing is left to wait for: asked of the routes, then of the database."""
        routes, failures = dispatcher.routes.values(), 0
        while True:
            if all(route.is_idle() or _is_stuck(route) for route in routes):
                try:
                    if await self._ask(self._nothing_to_wait_for):
                        dispatcher.wake()
                        return
                except StoreUnavailable:
                    # For instance a removed WAL, which this connection must not open. The session
                    # that ships repairs it in a moment.
                    failures += 1
                    if failures > _FAILURES_MAX:
                        raise
                else:
                    failures = 0
                await asyncio.sleep(_LOOK_EVERY)
            await asyncio.sleep(_GLANCE_EVERY)

    async def _ask(self, question: Callable[[Database], T]) -> T:
        """Ask the database in another thread, one question at a time."""
        async with self._asking:
            return await aside(partial(self._view.ask, question), "drain")

    def _nothing_to_wait_for(self, _: Database) -> bool:
        left = self._view.left()
        return all(entry.is_stuck for entry in left) if self._timeout is None else not left

    async def _update_bar(self) -> None:
        while self._bar is not None:
            self._bar.update(await self._ask(ended_counts))
            await self._pause()


def _is_joined(dispatcher: Dispatcher) -> bool:
    return dispatcher.shares.daemons > 1


def _is_stuck(route: Route) -> bool:
    return route.link.shown in STUCK and not route.in_flight


def _stands_still(engine: Database) -> bool:
    found = find_silence(engine)
    return found is not None and found.seconds >= _HANGS


def _report(context: Context, view: PendingView, before: EndedCounts) -> int:
    after, left = ended_counts(view.engine), view.left()
    delivered, died = after.delivered - before.delivered, max(0, after.dead - before.dead)
    if context.json:
        pending = {
            entry.destination: {
                "pending": entry.pending,
                "behind_held_keys": entry.held,
                "state": entry.state,
                "reason": entry.reason,
            }
            for entry in left
        }
        total = sum(entry.pending for entry in left)
        context.emit(
            {"delivered": delivered, "dead": died, "pending": total, "destinations": pending}
        )
    else:
        context.say(
            f"delivered {count(delivered)}"
            + (f", dead letters {count(died)} (see: shipper dead list)" if died else "")
        )
        for entry in left:
            context.tell(f"{printable(entry.destination)}: {_why(view, entry)}")
    return STILL_PENDING if left else SOME_DIED if died else 0


def _why(view: PendingView, left: PendingEvents) -> str:
    """Return why some of a destination's events are still pending."""
    still = f"{count(left.pending)} still pending"
    if (suffers := find_silence(view.engine)) is not None:
        return f"{still}: the daemon {printable(suffers.predicate)}"
    if left.state in STUCK_WORDS:
        return f"{still}: {printable(left.explained)}"
    if left.held:
        found, total = keys_held(view.engine, left.destination, NAMED)
        keys = [printable(h.ordering_key or "") for h in found]
        one = total == 1 and len(keys) == 1
        release = f"shipper release --key {shlex.quote(keys[0])}" if one else "shipper hold --list"
        held = plural(total, "a held key", "held keys")
        behind = f"{count(left.held)} of them behind {held}{named(keys, total)}"
        return f"{still}, {behind}: {release}"
    blockers = commit_blockers(view.engine)
    if blockers:
        return f"{still}: an open transaction can still commit an earlier event: {blockers[0]}"
    return f"{still}: {printable(left.explained)}; the daemon tries them again later"

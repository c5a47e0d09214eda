"""`shipper drain`: ship what is pending, then end.

It decides when to stop waiting: when nothing is left, or nothing that could be shipped without
somebody's help. Where a daemon holds the outbox, that one ships and this only watches; if it
goes away meanwhile, this takes over.
"""

import asyncio
import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from shipper.cli.commands.run import run_loop
from shipper.cli.input.arguments import Duration
from shipper.cli.output.context import Context
from shipper.cli.output.progress import Bar, progress_bar
from shipper.clock import Clock, SystemClock
from shipper.config import Settings
from shipper.daemon import Stop, open_session
from shipper.daemon.stop_budget import STORE_GRACE
from shipper.drain import Dispatcher, Route
from shipper.errors import OutboxHeld, StoreUnavailable
from shipper.logs import Log, open_log
from shipper.observe.troubles import NAMED, named, stands
from shipper.policy.state import State
from shipper.store.db.opening import Database
from shipper.store.db.transactions import let_go
from shipper.store.report.holds import keys_held
from shipper.store.report.progress import Settled, behind_held_keys, settled
from shipper.store.report.silence import plight
from shipper.store.report.status import commit_blockers, current_shipper, destination_report
from shipper.system.background import aside
from shipper.system.stderr import flush_stderr, unblock_stderr
from shipper.system.waiting import is_set_within
from shipper.wording.quantities import count
from shipper.wording.safe_text import printable

STILL_PENDING = 75
SOME_DIED = 1

_STUCK = frozenset({State.OFFLINE, State.PAUSED, State.HELD})
_STUCK_WORDS = frozenset(state.value for state in _STUCK)
_LOOK_EVERY = 0.25
_GLANCE_EVERY = 0.02
_HANGS = 30.0  # seconds without a word from the shipper that is watched
_FAILURES_MAX = 20  # one after the other: five seconds and more

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Left:
    """The pending events of one destination. `held` of them wait behind a held key."""

    destination: str
    pending: int
    held: int
    state: str
    reason: str | None
    stands: str
    """How its destination is, with why."""

    @property
    def is_stuck(self) -> bool:
        """Return whether none of them can be shipped without somebody's help."""
        return self.state in _STUCK_WORDS or self.held >= self.pending


def drain(*, timeout: Duration = None, context: Context) -> int:
    """Ship what is pending, then end; delivery windows don't count. Watches a running daemon.

    Exit status 75 if anything is still pending, else 1 if any event died meanwhile, else 0.
    Without --timeout it ends as soon as only offline, paused or held events remain.

    Parameters
    ----------
    timeout
        How long to wait for everything, like 30s or 5m, whatever stands in the way.
    """
    unblock_stderr()
    settings = context.settings()
    with context.engine() as engine:
        before = settled(engine)
        clock = SystemClock()
        view = View(engine, settings, clock)
        pending = view.ask(lambda _: sum(left.pending for left in view.left()))
        with progress_bar(context, pending) as bar:
            log = _log(context, settings, bar)
            run_loop(Drainer(view, log, bar, timeout, context.note).run())
        flush_stderr()  # before the answer, which stands on the same terminal
        return _tell(context, view, before)


def _log(context: Context, settings: Settings, bar: Bar | None) -> Log:
    quiet = "critical" if bar is not None else "warning"  # a line would tear the bar
    return open_log(settings.log.level if context.verbosity > 0 else quiet, settings.log.format)


class View:
    """What the database tells of the way that is left."""

    def __init__(self, engine: Database, settings: Settings, clock: Clock) -> None:
        self.engine = engine
        self.settings = settings
        self.clock = clock

    def ask(self, question: Callable[[Database], T]) -> T:
        """Return what the database says, and have nothing of it open between two questions."""
        try:
            return question(self.engine)
        finally:
            let_go(self.engine)

    def left(self) -> list[Left]:
        """Return what is pending, by destination."""
        behind = behind_held_keys(self.engine)
        reports = destination_report(self.engine, self.settings.destinations, self.clock.wall())
        return [
            Left(
                r.name,
                r.pending,
                behind.get(r.name, 0),
                r.state,
                r.reason,
                stands(r, between=", "),
            )
            for r in reports
            if r.pending
        ]


class Drainer:
    """Ships, or watches the daemon that does, until it is over."""

    def __init__(
        self,
        view: View,
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
        """Return once it is over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.ask)
        if self._timeout is not None:
            loop.call_later(self._timeout, self._stop.set)
        shower = loop.create_task(self._show())
        try:
            await self._ship_or_watch()
            if self._stop.is_set():
                await self._see_it_answer()
        finally:
            shower.cancel()
            await asyncio.gather(shower, return_exceptions=True)

    async def _see_it_answer(self) -> None:
        """Raise StoreUnavailable where the database says nothing: who stops us waits for none."""
        try:
            async with asyncio.timeout(STORE_GRACE):
                await self._ask(settled)
        except TimeoutError:
            raise StoreUnavailable(
                f"the database does not answer within {STORE_GRACE:g} s",
                "nothing is lost; look at its server, then see: shipper status",
            ) from None

    async def _ship_or_watch(self) -> None:
        watched: str | None = None
        while True:
            try:
                await self._ship()
            except OutboxHeld:
                shipper = await self._ask(current_shipper)
                if shipper is not None and shipper != watched:
                    self._note(f"{shipper} ships this outbox; watching it")
                    watched = shipper
                if not await self._watch():
                    await self._rest()  # whoever holds it may not be on record yet
                    continue
            return

    async def _ship(self) -> None:
        # Nothing here waits for a database or a lease: whoever calls us can try again.
        view = self._view
        async with open_session(
            view.settings, clock=view.clock, log=self._log, stop=self._stop, within=0.0
        ) as session:
            over = asyncio.create_task(self._until_over(session.dispatcher))
            try:
                await session.dispatcher.run(self._stop, until=over.done)
            finally:
                over.cancel()
                await asyncio.gather(over, return_exceptions=True)
        if over.done() and not over.cancelled():
            over.result()

    async def _watch(self) -> bool:
        """Return True once it is over, False when nobody ships any more."""
        seen: Settled | None = None
        while not self._stop.is_set():
            now = await self._ask(settled)
            # To count what is pending is dear; while something moves there is something left.
            if now == seen and await self._ask(self._nothing_to_wait_for):
                return True
            if await self._ask(current_shipper) is None:
                return False
            if self._timeout is None and await self._ask(_stands_still):
                return True
            seen = now
            await self._rest()
        return True

    async def _rest(self) -> None:
        await is_set_within(self._stop, _LOOK_EVERY)

    async def _until_over(self, dispatcher: Dispatcher) -> None:
        """Return once nothing is left that is waited for; it may be that it is to be counted."""
        routes, failures = dispatcher.routes.values(), 0
        while True:
            if all(route.is_idle() or _is_stuck(route) for route in routes):
                try:
                    if await self._ask(self._nothing_to_wait_for):
                        dispatcher.wake()
                        return
                except StoreUnavailable:
                    # A removed WAL, say, which the shipping saves in a moment: we may not open it.
                    failures += 1
                    if failures > _FAILURES_MAX:
                        raise
                else:
                    failures = 0
                await asyncio.sleep(_LOOK_EVERY)
            await asyncio.sleep(_GLANCE_EVERY)

    async def _ask(self, question: Callable[[Database], T]) -> T:
        """Ask the database, which serves one at a time, and never in the way of the shipping."""
        async with self._asking:
            return await aside(partial(self._view.ask, question), "drain")

    def _nothing_to_wait_for(self, _: Database) -> bool:
        left = self._view.left()
        return all(entry.is_stuck for entry in left) if self._timeout is None else not left

    async def _show(self) -> None:
        while self._bar is not None:
            self._bar.update(await self._ask(settled))
            await self._rest()


def _is_stuck(route: Route) -> bool:
    return route.link.shown in _STUCK and not route.in_flight


def _stands_still(engine: Database) -> bool:
    found = plight(engine)
    return found is not None and found.seconds >= _HANGS


def _tell(context: Context, view: View, before: Settled) -> int:
    after, left = settled(view.engine), view.left()
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
            + (f", {count(died)} died: shipper dead list" if died else "")
        )
        for entry in left:
            context.tell(f"{printable(entry.destination)}: {_why(view, entry)}")
    return STILL_PENDING if left else SOME_DIED if died else 0


def _why(view: View, left: Left) -> str:
    """Return why some of a destination's events are still pending."""
    still = f"{count(left.pending)} still pending"
    if (suffers := plight(view.engine)) is not None:
        return f"{still}: the shipper {printable(suffers.told)}"
    if left.state in _STUCK_WORDS:
        return f"{still}: {printable(left.stands)}"
    if left.held:
        found, total = keys_held(view.engine, left.destination, NAMED)
        keys = [printable(h.ordering_key or "") for h in found]
        one = total == 1 and len(keys) == 1
        release = f"shipper release --key {shlex.quote(keys[0])}" if one else "shipper hold --list"
        behind = f"{count(left.held)} of them behind a held key{named(keys, total)}"
        return f"{still}, {behind}: {release}"
    blockers = commit_blockers(view.engine)
    if blockers:
        return f"{still}: an open transaction could still commit before them: {blockers[0]}"
    return f"{still}: {printable(left.stands)}; they are tried again later"

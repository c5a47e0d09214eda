"""A session: one run of the drain on one outbox. A reload can change its settings.

The session takes the outbox (lock, lease), builds a route for each destination, and releases
everything in the reverse order. Reads and writes of rows run in the database's thread; on SQLite, a
short turn runs in the loop's thread (`steps`). A reload replaces the routes of changed
destinations, one by one. It must never release the outbox: a new session begins only for another
outbox.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shipper.advice import place_of
from shipper.clock import Clock
from shipper.config import Settings
from shipper.config.agreement import agreement
from shipper.daemon.acquisition import (
    FROZEN,
    Taking,
    acquire,
    give_back,
    interrupted_by,
    lease_ttl,
    log_reserve_given,
    log_waiting,
    reach,
)
from shipper.daemon.chores import Statistics, Upkeep
from shipper.daemon.commits import CommitWatch, watched
from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.destinations import (
    ReadyDestinations,
    RouteInputs,
    ready_destinations,
    route_of,
)
from shipper.daemon.file_watch import SeenFiles
from shipper.daemon.requests import Stop
from shipper.daemon.session_outbox import Address, SessionOutbox
from shipper.daemon.signs_of_life import SignsOfLife, leave_signs
from shipper.daemon.step_runner import StepRunner
from shipper.daemon.stop_budget import StopBudget, bounded
from shipper.drain import Dispatcher
from shipper.drain.reporter import Reporter
from shipper.drain.tally import Tally
from shipper.errors import OutboxHeld, ShipperError, StoreUnavailable
from shipper.logs import Log
from shipper.observe.guard import alongside
from shipper.store.db.engine import database_path, describe, move, open_engine
from shipper.store.db.failures import endure
from shipper.store.db.identity import identity
from shipper.store.db.opening import Database
from shipper.store.drain.changes import SqliteWatch
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import LinkRow
from shipper.store.drain.queue import Queue
from shipper.store.lease import clock_notes
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.lease import Owner
from shipper.store.upgrade.migrate import prepare
from shipper.store.upkeep.full_disk import QueueWithReserve
from shipper.store.upkeep.reserve import Reserve
from shipper.store.upkeep.times import newest
from shipper.system.confirmed_time import Confirmed

# Seconds. A command that asks whether the file is locked holds the lock for a shorter time.
_HELD_A_MOMENT = 0.5
_BY_ITSELF = Taking()


@dataclass(slots=True)
class Session:
    """The routes of one run, ready to ship, and the facts found when it took the outbox."""

    settings: Settings
    outbox: SessionOutbox
    dispatcher: Dispatcher
    recovered: int
    """How many events a crashed process may have sent already."""
    database: str
    """The database's description for a person."""
    tally: Tally
    """The drain's counters."""
    statistics: Statistics
    """The chore that saves the counters; it runs once more at the end."""
    confirmed: Confirmed
    """The confirmed time: how far a step of the wall clock is believed."""
    inputs: Mapping[str, RouteInputs]
    """The values that the routes are made of."""
    seen: SeenFiles
    """The files that are read only once, with their fingerprints from that time."""
    clock: Clock
    lease_ttl: float
    commits: CommitWatch
    budget: StopBudget
    """How long a stop waits for the database."""
    _moved: bool = False

    @property
    def upkeep(self) -> Upkeep:
        """The chores on the outbox, in the database's thread."""
        return self.outbox.upkeep

    def leads(self) -> bool:
        """Return whether this daemon does the chores that only one of an outbox may do."""
        return self.outbox.queue.shares.leads

    async def links(self, fresh: ReadyDestinations) -> Mapping[str, LinkRow]:
        """Return the saved links if destinations are added; none if the database doesn't answer."""
        if fresh.inputs.keys() <= self.dispatcher.routes.keys():
            return {}
        with suppress(ShipperError):  # the drain waits out a lost database
            return await _links(self.outbox)
        return {}

    def take(self, fresh: ReadyDestinations, links: Mapping[str, LinkRow]) -> None:
        """Apply other settings on the same outbox; unchanged destinations aren't touched.

        The lease's duration never gets shorter: a try in flight may count on the old one.
        """
        settings, dispatcher, outbox = fresh.settings, self.dispatcher, self.outbox
        if settings.database != outbox.address.settings:
            outbox.address.settings, self._moved = settings.database, True
            move(outbox.upkeep.database, settings.database.url)
            self.database = describe(outbox.upkeep.database)
        self.lease_ttl = max(self.lease_ttl, lease_ttl(settings))
        outbox.queue.describe(self.lease_ttl, settings.daemon.name, agreement(settings))
        dispatcher.set_rhythm(outbox.rhythm(settings, self.lease_ttl))
        if outbox.upkeep.reserve is not None:
            outbox.upkeep.reserve.size = settings.space.reserve
        for name in [name for name in dispatcher.routes if name not in settings.destinations]:
            dispatcher.remove(name)
        for name in dispatcher.routes.keys() - fresh.couriers.keys():
            place = place_of(settings.destinations[name], settings)
            dispatcher.routes[name].place = place
        _add_routes(dispatcher, fresh, self.clock, links)
        self.settings, self.inputs, self.seen = settings, fresh.inputs, fresh.seen

    async def prolong(self) -> None:
        """Renew the lease for a drain that hasn't begun; a failure shows once the drain runs."""
        with suppress(ShipperError):
            await self.outbox.thread.run(self.outbox.queue.renew)
            self.tally.waited(self.clock.monotonic())

    async def leave_old_address(self) -> None:
        """Close the connections to an address that a reload has replaced."""
        if self._moved:
            self._moved = False
            await self.outbox.thread.run(self.upkeep.database.dispose)


@asynccontextmanager
async def open_session(
    settings: Settings,
    *,
    clock: Clock,
    log: Log,
    stop: Stop,
    on_wait: Callable[[str], None] = lambda _: None,
    confirmed: Confirmed | None = None,
    taking: Taking = _BY_ITSELF,
) -> AsyncIterator[Session]:
    """Take the outbox for the length of the `with`; `on_wait` gets each reason for a wait.

    A stop waits for the database no longer than its budget (`bounded`). `confirmed` is the clock of
    earlier sessions of this process, if there were any.

    Raises StoreUnavailable if the database can't be reached in time, and OutboxHeld if another
    daemon holds the outbox and this one doesn't share it. Raises SchemaError and AccessDenied at
    once, unless `within` is `inf`.
    """
    path, ttl, within = database_path(settings.database.url), lease_ttl(settings), taking.within
    thread = DatabaseThread()
    thread.patient = within > 0
    async with AsyncExitStack() as stack:
        stack.callback(thread.close)
        address, notice = Address(settings.database), partial(_log_notice, log)
        waiting = log_waiting(log, on_wait)
        engine = open_engine(
            settings.database.url, notify=notice, renewed=address.read_url, frozen=FROZEN
        )
        endure(engine)
        stack.push_async_callback(_disconnect, thread, engine)
        budget = await stack.enter_async_context(bounded(thread, engine, stop, log))
        commits = await stack.enter_async_context(watched(engine, address, clock, log, stop))

        if path is not None:
            # Before any upgrade of the outbox: another daemon may be working in it.
            lock = FileLock(path)
            held = {OutboxHeld: _HELD_A_MOMENT} | reach(settings, within)
            await thread.insist(lock.acquire, held, stop, waiting)
            stack.callback(lock.release)
            engine.get_execution_options()["kept"].look_also(lock.insist, lock.is_lost)
        reached = reach(settings, within)
        async with interrupted_by(stop, engine):
            for done in await thread.insist(lambda: prepare(engine), reached, stop, waiting):
                notice(done)
        reserve = None if path is None else Reserve(path, settings.space.reserve)
        queue = Queue(engine, lease_ttl=ttl, monotonic=clock.monotonic)
        spared = (
            None
            if reserve is None
            else QueueWithReserve(queue, reserve, log_reserve_given(reserve, log))
        )
        # A daemon on a crashed machine leaves its lease to expire; a living daemon renews it.
        patience = {OutboxHeld: ttl if within and path is None else 0.0} | reached
        taken_at = clock.monotonic()

        def take() -> int:
            nonlocal taken_at
            taken_at = clock.monotonic()
            return acquire(queue, spared, settings, taking, patience if within else {})

        recovered = await thread.insist(take, patience, stop, waiting)
        stack.push_async_callback(give_back, thread, queue, spared)
        # Only now: if SQLite had to open a -shm read-only, all later connections of this process
        # share that, and another attempt to take the outbox would fail again.
        watch = None if path is None else await _watching(path, thread, stack)
        confirmed = confirmed or Confirmed(clock)
        confirmed.begin(
            await thread.run(partial(newest, engine)),
            await thread.run(partial(clock_notes.read, engine, Owner.here().boot)),
        )
        upkeep = Upkeep(engine, thread.run, asyncio.sleep, clock, log, confirmed, reserve)
        known = await thread.run(partial(identity, engine))
        looks = Looks(engine, lambda: queue.token)
        outbox = SessionOutbox(
            address,
            known,
            thread,
            queue,
            looks,
            upkeep,
            watch,
            taken_at,
        )
        tally = Tally(clock.monotonic())
        if path is not None:
            await stack.enter_async_context(alongside(leave_signs(SignsOfLife(path, tally), log)))
        statistics = Statistics(engine, thread.run, tally, clock, confirmed)
        stack.push_async_callback(_write_the_rest, statistics)
        dispatcher = Dispatcher(
            queue if spared is None else spared,
            outbox.looks,
            clock=clock,
            reporter=Reporter(log, tally),
            database=StepRunner(thread, clock.monotonic, in_loop=path is not None),
            rhythm=outbox.rhythm(settings, ttl),
        )
        budget.dispatchers.append(dispatcher)
        fresh = await ready_destinations(settings, clock, {})
        _add_routes(dispatcher, fresh, clock, await _links(outbox))
        thread.patient = True
        yield Session(
            settings,
            outbox,
            dispatcher,
            recovered,
            describe(engine),
            tally=tally,
            statistics=statistics,
            confirmed=confirmed,
            inputs=fresh.inputs,
            seen=fresh.seen,
            clock=clock,
            lease_ttl=ttl,
            commits=commits,
            budget=budget,
        )


async def _watching(path: Path, thread: DatabaseThread, stack: AsyncExitStack) -> SqliteWatch:
    watch = SqliteWatch(path)
    stack.callback(watch.close)
    # The files are opened in the database's thread; later calls cost next to nothing.
    await thread.run(watch.changed)
    return watch


def _add_routes(
    dispatcher: Dispatcher, fresh: ReadyDestinations, clock: Clock, links: Mapping[str, LinkRow]
) -> None:
    """Add a route for each new or changed destination, in the state that was saved for it."""
    settings = fresh.settings
    for name, courier in fresh.couriers.items():
        route = route_of(settings.destinations[name], settings, courier, clock, dispatcher.wake)
        if name in links and name not in dispatcher.routes:
            route.resume(links[name])
        dispatcher.add(route)


async def _links(outbox: SessionOutbox) -> Mapping[str, LinkRow]:
    return {row.destination: row for row in await outbox.thread.run(outbox.looks.links)}


def _log_notice(log: Log, notice: str) -> None:
    log("store.notice", notice=notice)


async def _disconnect(thread: DatabaseThread, engine: Database) -> None:
    with suppress(StoreUnavailable):  # a server that doesn't answer is not waited for
        await thread.run(engine.dispose)


async def _write_the_rest(statistics: Statistics) -> None:
    with suppress(ShipperError):  # no event depends on it
        await statistics.write()

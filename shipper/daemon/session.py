"""One run of the drain with one outbox: opened, run, closed. Its settings may change meanwhile.

It takes the outbox (lock, lease), builds a route for each destination, and gives everything back
in the reverse order. Whatever reads or writes rows runs in one thread. A reload replaces the routes
of destinations that are another by now, one by one, and gives nothing back: only another outbox is
another session.
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
from shipper.daemon.budget import Budget, bounded
from shipper.daemon.chores import Statistics, Upkeep
from shipper.daemon.commits import Commits, watched
from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.destinations import Fresh, Make, Seen, freshly, route_of
from shipper.daemon.outbox import Address, Outbox
from shipper.daemon.signs import Signs, sign
from shipper.daemon.stops import Stop
from shipper.daemon.taking import (
    FROZEN,
    REACH_WITHIN,
    acquire,
    broken_off_by,
    give_back,
    lease_ttl,
    reach,
    tells,
    tells_waiting,
)
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
from shipper.store.upkeep.reserve import Reserve, Spared
from shipper.store.upkeep.retention import newest
from shipper.system.confirmed_time import Confirmed

# Whoever asks whether the outbox is held holds it for less.
_HELD_A_MOMENT = 0.5


@dataclass(slots=True)
class Session:
    """A set of routes that is ready to run, and what was found when the outbox was taken."""

    settings: Settings
    outbox: Outbox
    dispatcher: Dispatcher
    recovered: int
    """How many events a process that died may have sent already."""
    database: str
    """Which database it is, for a person."""
    tally: Tally
    """What the drain has done so far."""
    statistics: Statistics
    """The chore that writes it down; done once more at the end."""
    confirmed: Confirmed
    """How late it is, as far as a step of the wall clock is believed."""
    makes: Mapping[str, Make]
    """What the routes are made of."""
    seen: Seen
    """The files that are read only once, as they were then."""
    clock: Clock
    lease_ttl: float
    commits: Commits
    budget: Budget
    """How long a stop waits for the database."""
    _moved: bool = False

    @property
    def upkeep(self) -> Upkeep:
        """The chores that work on the outbox, in the database's own thread."""
        return self.outbox.upkeep

    async def links(self, fresh: Fresh) -> Mapping[str, LinkRow]:
        """Return how destinations that come back were left, as far as the database says."""
        if fresh.makes.keys() <= self.dispatcher.routes.keys():
            return {}
        with suppress(ShipperError):  # what is away is waited for by the drain
            return await _links(self.outbox)
        return {}

    def take(self, fresh: Fresh, links: Mapping[str, LinkRow]) -> None:
        """Go on with other settings, on the same outbox; what isn't another one goes on as it is.

        A try that is under way may count on the lease that it began with: that never gets shorter.
        """
        settings, dispatcher, outbox = fresh.settings, self.dispatcher, self.outbox
        if settings.database != outbox.address.settings:
            outbox.address.settings, self._moved = settings.database, True
            move(outbox.upkeep.database, settings.database.url)
            self.database = describe(outbox.upkeep.database)
        self.lease_ttl = max(self.lease_ttl, lease_ttl(settings))
        outbox.queue.set_lease(self.lease_ttl)
        dispatcher.set_rhythm(outbox.rhythm(settings, self.lease_ttl))
        if outbox.upkeep.reserve is not None:
            outbox.upkeep.reserve.size = settings.space.reserve
        for name in [name for name in dispatcher.routes if name not in settings.destinations]:
            dispatcher.remove(name)
        for name in dispatcher.routes.keys() - fresh.couriers.keys():
            place = place_of(settings.destinations[name], settings)
            dispatcher.routes[name].place = place
        _add_routes(dispatcher, fresh, self.clock, links)
        self.settings, self.makes, self.seen = settings, fresh.makes, fresh.seen

    async def prolong(self) -> None:
        """Keep the lease for a drain that hasn't begun; if it can't be, that one finds out."""
        with suppress(ShipperError):
            await self.outbox.thread.run(self.outbox.queue.renew)
            self.tally.waited(self.clock.monotonic())

    async def settle_in(self) -> None:
        """Leave the connection to an address that is another by now."""
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
    waits: Callable[[str], None] = lambda _: None,
    confirmed: Confirmed | None = None,
    within: float = REACH_WITHIN,
) -> AsyncIterator[Session]:
    """Take the outbox, and give it back at the end; `waits` is told what it has to wait for.

    A stop waits for the database no longer than its budget (`bounded`). `confirmed` is of the
    sessions before, where there were any in this process. A database that is away is waited for
    `within` so many seconds; with 0 nothing is waited for.

    Raises StoreUnavailable when it can't be reached in time, OutboxHeld when another daemon has
    it; SchemaError and AccessDenied at once, but where it is waited for for ever.
    """
    path, ttl = database_path(settings.database.url), lease_ttl(settings)
    thread = DatabaseThread()
    thread.patient = within > 0
    async with AsyncExitStack() as stack:
        stack.callback(thread.close)
        address, notice = Address(settings.database), partial(_tell_notice, log)
        waiting = tells_waiting(log, waits)
        engine = open_engine(
            settings.database.url, told=notice, renewed=address.read_url, frozen=FROZEN
        )
        endure(engine)
        stack.push_async_callback(_hang_up, thread, engine)
        budget = await stack.enter_async_context(bounded(thread, engine, stop, log))
        commits = await stack.enter_async_context(watched(engine, address, clock, log, stop))

        if path is not None:
            # Before the outbox is brought up to date: another daemon may be at work in it.
            lock = FileLock(path)
            held = {OutboxHeld: _HELD_A_MOMENT} | reach(settings, within)
            await thread.insist(lock.acquire, held, stop, waiting)
            stack.callback(lock.release)
            engine.get_execution_options()["kept"].look_also(lock.insist)
        reached = reach(settings, within)
        async with broken_off_by(stop, engine):
            for done in await thread.insist(lambda: prepare(engine), reached, stop, waiting):
                notice(done)
        reserve = None if path is None else Reserve(path, settings.space.reserve)
        queue, owner = Queue(engine, lease_ttl=ttl, monotonic=clock.monotonic), Owner.here()
        spared = None if reserve is None else Spared(queue, reserve, tells(reserve, log))
        # A daemon whose machine went away leaves its lease as it is; a living one prolongs it.
        patience = {OutboxHeld: ttl if within and path is None else 0.0} | reached
        taken_at = clock.monotonic()

        def take() -> int:
            nonlocal taken_at
            taken_at = clock.monotonic()
            return acquire(queue, spared, owner, patience if within else {})

        recovered = await thread.insist(take, patience, stop, waiting)
        stack.push_async_callback(give_back, thread, queue, spared)
        # Not before: SQLite shares a -shm that it could open for reading only with whatever else of
        # this process has the file open, and another try to take the outbox would find that again.
        watch = None if path is None else await _watching(path, thread, stack)
        confirmed = confirmed or Confirmed(clock)
        confirmed.begin(
            await thread.run(partial(newest, engine)),
            await thread.run(partial(clock_notes.read, engine, owner.boot)),
        )
        upkeep = Upkeep(engine, thread.run, asyncio.sleep, clock, log, confirmed, reserve)
        known = await thread.run(partial(identity, engine))
        outbox = Outbox(address, known, thread, queue, Looks(engine), upkeep, watch, taken_at)
        tally = Tally(clock.monotonic())
        if path is not None:
            await stack.enter_async_context(alongside(sign(Signs(path, tally), log)))
        statistics = Statistics(engine, thread.run, tally, clock, confirmed)
        stack.push_async_callback(_write_the_rest, statistics)
        dispatcher = Dispatcher(
            queue if spared is None else spared,
            outbox.looks,
            clock=clock,
            reporter=Reporter(log, tally),
            database=thread.run,
            rhythm=outbox.rhythm(settings, ttl),
        )
        budget.dispatchers.append(dispatcher)
        fresh = await freshly(settings, clock, {})
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
            makes=fresh.makes,
            seen=fresh.seen,
            clock=clock,
            lease_ttl=ttl,
            commits=commits,
            budget=budget,
        )


async def _watching(path: Path, thread: DatabaseThread, stack: AsyncExitStack) -> SqliteWatch:
    watch = SqliteWatch(path)
    stack.callback(watch.close)
    # What opens files does so there; asking, later on, costs next to nothing.
    await thread.run(watch.changed)
    return watch


def _add_routes(
    dispatcher: Dispatcher, fresh: Fresh, clock: Clock, links: Mapping[str, LinkRow]
) -> None:
    """Add a route for each destination that is another one, in the state in which it was left."""
    settings = fresh.settings
    for name, courier in fresh.couriers.items():
        route = route_of(settings.destinations[name], settings, courier, clock, dispatcher.wake)
        if name in links and name not in dispatcher.routes:
            route.resume(links[name])
        dispatcher.add(route)


async def _links(outbox: Outbox) -> Mapping[str, LinkRow]:
    return {row.destination: row for row in await outbox.thread.run(outbox.looks.links)}


def _tell_notice(log: Log, notice: str) -> None:
    log("store.notice", notice=notice)


async def _hang_up(thread: DatabaseThread, engine: Database) -> None:
    with suppress(StoreUnavailable):  # nobody waits for a server that says nothing
        await thread.run(engine.dispose)


async def _write_the_rest(statistics: Statistics) -> None:
    with suppress(ShipperError):  # nobody's event depends on it
        await statistics.write()

"""One run of the drain with one set of settings: opened, run, closed. A reload is a new session.

It takes the outbox (lock, lease), builds a route for each destination, and gives everything back
in the reverse order. Whatever reads or writes rows runs in one thread.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import inf

from shipper.advice import place_of
from shipper.chores import Statistics, Upkeep
from shipper.clock import Clock
from shipper.config import DestinationSettings, Settings
from shipper.confirmed import Confirmed
from shipper.courier import Courier
from shipper.daemon.thread import DatabaseThread
from shipper.delivery import RetryPolicy
from shipper.destination import Destination
from shipper.dispatcher import Dispatcher, Rhythm, Route, Terms
from shipper.dispatcher.reporter import Reporter
from shipper.dispatcher.tally import Tally
from shipper.errors import (
    AccessDenied,
    LeaseLost,
    LoginRefused,
    OutboxHeld,
    SchemaError,
    ShipperError,
    StoreUnavailable,
)
from shipper.logs import Log
from shipper.store import clock_notes
from shipper.store.engine import database_path, describe, open_engine
from shipper.store.lease import FileLock, Owner
from shipper.store.looks import Looks
from shipper.store.migrate import prepare
from shipper.store.queue import Queue
from shipper.store.reserve import Reserve, Spared
from shipper.store.retention import newest
from shipper.store.watch import SqliteWatch
from shipper.store.work import LinkRow

# How long the database may take to appear: one boot may start both.
REACH_WITHIN = 30.0
# A lease is looked at now and then, and has to be seen as it is once more when its time is over.
_WATCHED_MORE = 2.0
# Seconds after which a server ends the transaction of a daemon that stands still within it: less
# than another one waits for its rows.
_FROZEN = 15.0
# Whoever asks whether the outbox is held holds it for less.
_HELD_A_MOMENT = 0.5

# Idle time between looks, in seconds: what an application waits for at most, and what idling costs.
_POLL_SQLITE = 0.02
_POLL_POSTGRES = 0.2
# However rarely somebody wants it to look, the drain turns: the watchdog lives on that.
_IDLE_MAX = 15.0


@dataclass(frozen=True, slots=True)
class Session:
    """A set of routes that is ready to run, and what was found when the outbox was taken."""

    settings: Settings
    dispatcher: Dispatcher
    recovered: int
    """How many events a process that died may have sent already."""
    database: str
    """Which database it is, for a person."""
    upkeep: Upkeep
    """The chores that work on the outbox, in the database's own thread."""
    tally: Tally
    """What the drain has done so far."""
    statistics: Statistics
    """The chore that writes it down; done once more at the end."""
    confirmed: Confirmed
    """How late it is, as far as a step of the wall clock is believed."""


@asynccontextmanager
async def open_session(
    settings: Settings,
    *,
    clock: Clock,
    log: Log,
    stop: asyncio.Event,
    waits: Callable[[str], None] = lambda _: None,
    confirmed: Confirmed | None = None,
) -> AsyncIterator[Session]:
    """Take the outbox, and give it back at the end; `waits` is told what it has to wait for.

    `confirmed` is of the sessions before, where there were any in this process.

    Raises StoreUnavailable when it can't be reached for 30 s, OutboxHeld when another daemon has
    it, SchemaError and AccessDenied at once.
    """
    path = database_path(settings.database.url)
    ttl = _lease_ttl(settings)
    thread = DatabaseThread()
    async with AsyncExitStack() as stack:
        stack.callback(thread.close)
        where, notice = settings.database, partial(_tell_notice, log)
        engine = open_engine(where.url, told=notice, renewed=where.read_url, frozen=_FROZEN)
        stack.push_async_callback(thread.run, engine.dispose)

        def waiting(error: ShipperError, seconds: float) -> None:
            log("daemon.waiting", reason=error.message, seconds=seconds)
            waits(error.message)

        if path is not None:
            # Before the outbox is brought up to date: another daemon may be at work in it.
            lock = FileLock(path)
            reach = {OutboxHeld: _HELD_A_MOMENT, StoreUnavailable: REACH_WITHIN}
            await thread.insist(lock.acquire, reach, stop, waiting)
            stack.callback(lock.release)
            engine.get_execution_options()["kept"].look_also(lock.insist)
        reached = _reach(settings)
        for done in await thread.insist(lambda: prepare(engine), reached, stop, waiting):
            notice(done)
        watch = None if path is None else SqliteWatch(path)
        if watch is not None:
            stack.callback(watch.close)
        reserve = None if path is None else Reserve(path, settings.space.reserve)
        queue = Queue(engine, lease_ttl=ttl, monotonic=clock.monotonic)
        spared = None if reserve is None else Spared(queue, reserve, _tells(reserve, log))
        owner = Owner.here()
        # A daemon whose machine went away leaves its lease as it is; a living one prolongs it.
        patience = {OutboxHeld: 0.0 if path else ttl} | reached
        taken_at = clock.monotonic()

        def take() -> int:
            nonlocal taken_at
            taken_at = clock.monotonic()
            return _acquire(queue, spared, owner, patience)

        recovered = await thread.insist(take, patience, stop, waiting)
        stack.push_async_callback(_give_back, thread, queue, spared)
        looks = Looks(engine)
        rhythm = Rhythm(
            poll=min(_POLL_SQLITE if path else _POLL_POSTGRES, settings.schedule.poll_interval),
            idle=min(_IDLE_MAX, settings.schedule.poll_interval),
            lease_ttl=inf if path else ttl,
            lease_taken_at=taken_at,
            changed=watch.changed if watch else None,
        )
        tally = Tally(clock.monotonic())
        dispatcher = Dispatcher(
            queue if spared is None else spared,
            looks,
            clock=clock,
            reporter=Reporter(log, tally),
            database=thread.run,
            rhythm=rhythm,
        )
        _add_routes(dispatcher, settings, clock, await thread.run(looks.links))
        confirmed = confirmed or Confirmed(clock)
        notes = await thread.run(partial(clock_notes.read, engine, owner.boot))
        confirmed.begin(await thread.run(partial(newest, engine)), notes)
        upkeep = Upkeep(engine, thread.run, asyncio.sleep, clock, log, confirmed, reserve)
        statistics = Statistics(engine, thread.run, tally, clock, confirmed)
        stack.push_async_callback(_write_the_rest, statistics)
        yield Session(
            settings,
            dispatcher,
            recovered,
            describe(engine),
            upkeep=upkeep,
            tally=tally,
            statistics=statistics,
            confirmed=confirmed,
        )


def _add_routes(
    dispatcher: Dispatcher, settings: Settings, clock: Clock, links: Iterable[LinkRow]
) -> None:
    """Add a route for each destination, in the state in which it was left."""
    left = {row.destination: row for row in links}
    for destination in settings.destinations.values():
        route = _route(destination, settings, clock, dispatcher.wake)
        if route.name in left:
            route.resume(left[route.name])
        dispatcher.add(route)


def _tell_notice(log: Log, notice: str) -> None:
    log("store.notice", notice=notice)


async def try_out(settings: Settings, clock: Clock) -> None:
    """Return only if a session could send with these settings; touches no network, no database.

    Raises ConfigError and AccessDenied, for instance for an API ID file that can't be read.
    """
    for destination in settings.destinations.values():
        await _courier(destination, settings, clock).aclose()


def _reach(settings: Settings) -> dict[type[ShipperError], float]:
    """Return what is waited for until the database can be worked with, and for how long."""
    reached: dict[type[ShipperError], float] = {StoreUnavailable: REACH_WITHIN}
    if settings.database.url_file is not None:
        # Whoever changes a password does so in two places, one after the other.
        reached[LoginRefused] = REACH_WITHIN
    return reached


def _lease_ttl(settings: Settings) -> float:
    """Return for how long the outbox is taken: long enough that an attempt fits in twice."""
    return 15.0 + 2 * max(destination.timeout for destination in settings.destinations.values())


def _tells(reserve: Reserve, log: Log) -> Callable[[int], None]:
    """Return what tells of a piece of the reserve that was given up; there are only a few."""

    def tell(given: int) -> None:
        log(
            "space.reserve_given",
            bytes=given,
            left=reserve.held,
            hint="the disk is full: make room; the application's INSERT fails, or soon will",
        )

    return tell


def _acquire(
    queue: Queue, spared: Spared | None, owner: Owner, patience: dict[type[ShipperError], float]
) -> int:
    """Take the outbox; where its holder has to be watched first, be patient enough for that."""
    acquire = partial(queue.acquire, owner)
    try:
        return acquire() if spared is None else spared.insist(acquire)
    except OutboxHeld as held:
        # One that died before we began has moved it within a third of that time at last.
        watched = held.watched * 4 / 3 + _WATCHED_MORE
        patience[OutboxHeld] = max(patience[OutboxHeld], watched)
        raise


async def _give_back(thread: DatabaseThread, queue: Queue, spared: Spared | None) -> None:
    release = queue.release if spared is None else partial(spared.insist, queue.release)
    try:
        await thread.run(release)
    except (StoreUnavailable, AccessDenied, SchemaError, LeaseLost):
        return  # the next one to take it finds the claims, and does what we would have done


async def _write_the_rest(statistics: Statistics) -> None:
    with suppress(ShipperError):  # nobody's event depends on it
        await statistics.write()


def _courier(destination: DestinationSettings, settings: Settings, clock: Clock) -> Courier:
    carrier = Destination(
        url=destination.url,
        timeout=destination.timeout,
        max_in_flight=destination.max_in_flight,
        ca_file=destination.ca_file,
        proxy=destination.proxy,
        transport=destination.transport,
    )
    return Courier(
        carrier,
        validation=settings.validation.mode,
        api_id=lambda: destination.read_api_id().reveal(),
        clock=clock,
        where=carrier.where,
    )


def _route(
    destination: DestinationSettings, settings: Settings, clock: Clock, wake: Callable[[], None]
) -> Route:
    retry = destination.retry
    terms = Terms(
        policy=RetryPolicy(retry.backoff, retry.probe_backoff, retry.max_attempts),
        timeout=destination.timeout,
        max_in_flight=destination.max_in_flight,
        max_rate=destination.max_rate,
        holds_dead=destination.after_dead_letter == "hold",
        place=place_of(destination, settings),
    )
    courier = _courier(destination, settings, clock)
    return Route(destination.name, terms, courier, clock=clock, wake=wake)

"""How a session takes its outbox, what it waits for meanwhile, and how it gives it back.

It must never hold up a stop, and never wait for what only a person can change.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf

from shipper.config import Settings
from shipper.daemon.database_thread import DatabaseThread
from shipper.errors import (
    AccessDenied,
    ForeignTrigger,
    LeaseLost,
    LoginRefused,
    OutboxHeld,
    SchemaError,
    ShipperError,
    StoreUnavailable,
)
from shipper.logs import Log
from shipper.store.db.opening import Database
from shipper.store.db.transactions import interrupt
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.upkeep.reserve import Reserve, Spared
from shipper.system.background import aside

# How long the database may take to appear: one boot may start both.
REACH_WITHIN = 30.0
# A lease is looked at now and then, and has to be seen as it is once more when its time is over.
_WATCHED_MORE = 2.0
# Seconds after which a server ends the transaction of a daemon that stands still within it: less
# than another one waits for its rows.
FROZEN = 15.0
# A question that comes after another is broken off as well.
_BREAK_OFF_EVERY = 0.1
# What is waited for may be told in ever other words.
_TOLD_MOST = 10


@asynccontextmanager
async def interrupted_by(stop: asyncio.Event, engine: Database) -> AsyncIterator[None]:
    """Have what the database does within fail as soon as somebody stops us: no stop waits for it.

    An upgrade is done whole or not at all; the next start does it anew. Nothing is broken off by a
    stop that is set from the start.
    """
    if stop.is_set():
        yield
        return

    async def break_off() -> None:
        await stop.wait()
        while True:
            await aside(partial(interrupt, engine), "interrupt")  # which may take a second
            await asyncio.sleep(_BREAK_OFF_EVERY)

    breaker = asyncio.create_task(break_off())
    try:
        yield
    finally:
        breaker.cancel()
        await asyncio.wait({breaker})


def reach(settings: Settings, within: float) -> dict[type[ShipperError], float]:
    """Return what is waited for until the database can be worked with, and for how long.

    `within` is in seconds; for ever is for a daemon that had its outbox already: as while it ships,
    a server, a password or a table that is gone may be back in a minute.
    """
    reached: dict[type[ShipperError], float] = {StoreUnavailable: within}
    if within == inf:
        return reached | {AccessDenied: inf, SchemaError: inf}
    if within:
        # As while it ships: no start would be better than this one.
        reached[ForeignTrigger] = inf
    if within and settings.database.url_file is not None:
        # Whoever changes a password does so in two places, one after the other.
        reached[LoginRefused] = within
    return reached


def lease_ttl(settings: Settings) -> float:
    """Return for how long the outbox is taken: long enough that an attempt fits in twice."""
    return 15.0 + 2 * max(destination.timeout for destination in settings.destinations.values())


def log_reserve_given(reserve: Reserve, log: Log) -> Callable[[int], None]:
    """Return what logs a piece of the reserve that was given up; there are only a few."""

    def tell(given: int) -> None:
        log(
            "space.reserve_given",
            bytes=given,
            left=reserve.held,
            hint="the disk is full: make room; the application's INSERT fails, or soon will",
        )

    return tell


def log_waiting(log: Log, waits: Callable[[str], None]) -> Callable[[ShipperError, float], None]:
    """Return what log_reserve_given the log once for what is waited, and `waits` each time."""
    told: set[str] = set()

    def tell(error: ShipperError, seconds: float) -> None:
        if error.message not in told and len(told) < _TOLD_MOST:
            told.add(error.message)
            bounded = {} if seconds == inf else {"seconds": seconds}
            log("daemon.waiting", reason=error.message, **bounded)
        waits(error.message)

    return tell


def acquire(
    queue: Queue, spared: Spared | None, owner: Owner, patience: dict[type[ShipperError], float]
) -> int:
    """Take the outbox; where its holder has to be watched first, be patient enough for that."""
    acquire = partial(queue.acquire, owner)
    try:
        return acquire() if spared is None else spared.insist(acquire)
    except OutboxHeld as held:
        # One that died before we began has moved it within a third of that time at last.
        watched = held.watched * 4 / 3 + _WATCHED_MORE
        patience[OutboxHeld] = max(patience.get(OutboxHeld, 0.0), watched)
        raise


async def give_back(thread: DatabaseThread, queue: Queue, spared: Spared | None) -> None:
    """Let the next daemon have the outbox, where it can still be asked for that."""
    release = queue.release if spared is None else partial(spared.insist, queue.release)
    try:
        await thread.run(release)
    except (StoreUnavailable, AccessDenied, SchemaError, LeaseLost):
        return  # the next one to take it finds the claims, and does what we would have done

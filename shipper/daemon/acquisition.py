"""How a session takes its outbox, which failures it waits out meanwhile, and how it releases it.

This module decides how long the session waits out each kind of failure. It must never delay a stop,
and never wait for a fault that only a person can fix.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import NamedTuple

from shipper.config import Settings
from shipper.config.agreement import agreement
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
from shipper.store.upkeep.full_disk import QueueWithReserve
from shipper.store.upkeep.reserve import Reserve
from shipper.system.background import aside

# Seconds that the database has to appear: at boot, database and daemon may start together.
REACH_WITHIN = 30.0
# Extra seconds to watch a lease: its row must be read once more after the lease has expired.
_WATCHED_MORE = 2.0
# Seconds after which a server ends the transaction of a daemon that stands still within it. Another
# daemon waits longer than this for the locked rows, also while it stops (`STORE_GRACE`).
FROZEN = 3.0
# Seconds between interrupts: after one query is interrupted, the next query may start.
_BREAK_OFF_EVERY = 0.1
# The most reasons that are logged: an error may word the same reason differently each time.
_LOGGED_MAX = 10


@asynccontextmanager
async def interrupted_by(stop: asyncio.Event, engine: Database) -> AsyncIterator[None]:
    """Interrupt the database work in the `with` as soon as the daemon is asked to stop.

    An upgrade is done whole or not at all; the next start begins it again. If `stop` is set before
    the `with` begins, nothing is interrupted.
    """
    if stop.is_set():
        yield
        return

    async def break_off() -> None:
        await stop.wait()
        while True:
            await aside(partial(interrupt, engine), "interrupt")  # this may take a second
            await asyncio.sleep(_BREAK_OFF_EVERY)

    breaker = asyncio.create_task(break_off())
    try:
        yield
    finally:
        breaker.cancel()
        await asyncio.wait({breaker})


def reach(settings: Settings, within: float) -> dict[type[ShipperError], float]:
    """Return which errors a session waits out until it can use the database, and for how long each.

    `within` is in seconds. `inf` is for a daemon that has already had its outbox: then a server, a
    password or a table that is missing now may be back in a minute.
    """
    reached: dict[type[ShipperError], float] = {StoreUnavailable: within}
    if within == inf:
        return reached | {AccessDenied: inf, SchemaError: inf}
    if within:
        # The same rule as while shipping: a daemon that waits is better than one that can't start.
        reached[ForeignTrigger] = inf
    if within and settings.database.url_file is not None:
        # An operator changes a password in two places, one after the other.
        reached[LoginRefused] = within
    return reached


def lease_ttl(settings: Settings) -> float:
    """Return how long a lease lasts, in seconds: two tries fit into it."""
    return 15.0 + 2 * max(destination.timeout for destination in settings.destinations.values())


def log_reserve_given(reserve: Reserve, log: Log) -> Callable[[int], None]:
    """Return a function that logs the release of a piece of the reserve; there are few pieces."""

    def log_given(given: int) -> None:
        log(
            "space.reserve_given",
            bytes=given,
            left=reserve.held,
            hint="the disk is full: make room; the application's INSERTs fail or will fail soon",
        )

    return log_given


def log_waiting(log: Log, waits: Callable[[str], None]) -> Callable[[ShipperError, float], None]:
    """Return a function that logs each reason for waiting once, and calls `waits` each time."""
    logged: set[str] = set()

    def log_error(error: ShipperError, seconds: float) -> None:
        if error.message not in logged and len(logged) < _LOGGED_MAX:
            logged.add(error.message)
            bounded = {} if seconds == inf else {"seconds": seconds}
            log("daemon.waiting", reason=error.message, **bounded)
        waits(error.message)

    return log_error


class Taking(NamedTuple):
    """How a session takes its outbox.

    The database has `within` seconds to become reachable; with 0 there is no wait at all. `alone`
    says that it doesn't share the outbox with other daemons; on SQLite none does.
    """

    within: float = REACH_WITHIN
    alone: bool = True


def acquire(
    queue: Queue,
    spared: QueueWithReserve | None,
    settings: Settings,
    taking: Taking,
    patience: dict[type[ShipperError], float],
) -> int:
    """Take the outbox; if a holder's lease must be watched first, extend `patience` for that."""
    acquire = partial(
        queue.acquire,
        Owner.here(),
        alone=taking.alone,
        name=settings.daemon.name,
        settings=agreement(settings),
    )
    try:
        return acquire() if spared is None else spared.insist(acquire)
    except OutboxHeld as held:
        # A third longer: the last renewal of a dying holder can arrive within the first third.
        watched = held.watched * 4 / 3 + _WATCHED_MORE
        patience[OutboxHeld] = max(patience.get(OutboxHeld, 0.0), watched)
        raise


async def give_back(thread: DatabaseThread, queue: Queue, spared: QueueWithReserve | None) -> None:
    """Release the outbox for the next daemon, if the database still answers."""
    release = queue.release if spared is None else partial(spared.insist, queue.release)
    try:
        await thread.run(release)
    except (StoreUnavailable, AccessDenied, SchemaError, LeaseLost):
        return  # the next daemon finds the claims and recovers them itself

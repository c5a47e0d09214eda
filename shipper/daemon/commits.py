"""What the daemon does about a COMMIT that waits for an absent synchronous standby (PostgreSQL).

No timeout of the server ends such a wait, and the daemon must not send an event whose claim is not
on the standby. So the daemon waits, logs that, and counts as alive meanwhile. A stop doesn't wait:
it interrupts the COMMIT, which the server then treats as done without its standby
(postgresql.org/docs/current/warm-standby.html, synchronous replication). A daemon that keeps
running must never interrupt a COMMIT: it would send events whose claims a failover can undo.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from shipper.clock import Clock
from shipper.daemon.session_outbox import Address
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.store.db import commits
from shipper.store.db.dialect import dialect_of
from shipper.store.db.opening import Database, opened
from shipper.store.db.transactions import committing, interrupt
from shipper.system.background import aside

_LOOK_EVERY = 0.5
_BREAK_OFF_EVERY = 0.1
# Seconds. A standby that is present answers within milliseconds.
_WAITS = 2.0
_ASK_EVERY = 10.0
_LOG_EVERY = 60.0


class CommitWatch:
    """Watches the commits of a session, from taking the outbox until its release."""

    def __init__(self, database: Database, address: Address, clock: Clock, log: Log) -> None:
        self.known_to_wait = 0
        """How often the server has confirmed a wait: the drain is alive, although it waits."""
        self._database = database
        self._address = address
        self._clock = clock
        self._log = log
        self._commit: object | None = None
        self._began = self._asked_at = 0.0
        self._logged_at: float | None = None
        self._is_logged = False
        self._broken_off = False

    @property
    def is_waiting(self) -> bool:
        """Return whether a commit waits for a standby and the log says so."""
        return self._is_logged

    async def watch(self, stop: asyncio.Event, *, breaks_off: bool) -> None:
        """Watch until cancelled; with `breaks_off`, a set `stop` interrupts a waiting commit."""
        while True:
            await asyncio.sleep(_BREAK_OFF_EVERY if stop.is_set() else _LOOK_EVERY)
            commit, now = committing(self._database), self._clock.monotonic()
            if commit is not self._commit:
                self._ended(now)
                self._commit, self._began, self._asked_at = commit, now, -_ASK_EVERY
            elif commit is not None:
                if breaks_off and stop.is_set():
                    await self._break_off(now)
                await self._ask(now)

    async def _break_off(self, now: float) -> None:
        # A second commit waits for the same standby, which is known to be absent.
        if self._broken_off or now - self._began >= _WAITS:
            self._broken_off = True
            await aside(partial(interrupt, self._database), "interrupt")

    async def _ask(self, now: float) -> None:
        if now - self._began < _WAITS or now - self._asked_at < _ASK_EVERY:
            return
        self._asked_at = now
        with suppress(ShipperError):  # the drain reports the same error itself
            found = await aside(partial(_waiting, self._address), "commits")
            if found is not None:
                self.known_to_wait += 1
                self._log_wait(found, now)

    def _log_wait(self, found: commits.StalledCommits, now: float) -> None:
        if self._is_logged or (self._logged_at is not None and now - self._logged_at < _LOG_EVERY):
            return
        self._log("store.commit_waits", reason=str(found), hint=commits.FIX)
        self._logged_at, self._is_logged = now, True

    def _ended(self, now: float) -> None:
        if self._is_logged:
            self._log("store.back", seconds=round(now - self._began, 3))
        self._is_logged = False


@asynccontextmanager
async def watched(
    database: Database, address: Address, clock: Clock, log: Log, stop: asyncio.Event
) -> AsyncIterator[CommitWatch]:
    """Watch the commits in the `with`; `stop` ends their wait, unless it was set before."""
    found = CommitWatch(database, address, clock, log)
    if not dialect_of(database).may_stall:
        yield found
        return
    watching = asyncio.create_task(found.watch(stop, breaks_off=not stop.is_set()))
    try:
        yield found
    finally:
        watching.cancel()
        await asyncio.wait({watching})


def _waiting(address: Address) -> commits.StalledCommits | None:
    with opened(address.settings.url, renewed=address.read_url) as database:
        return commits.waiting(database)

"""What is done about a COMMIT that waits for a synchronous standby which is away (PostgreSQL).

No timeout of the server ends such a wait, and nobody may be sent what isn't safe there. So the
daemon waits, says so, and is alive meanwhile. Whoever stops it doesn't wait: the COMMIT is broken
off, which the server takes as one that is done without its standby
(postgresql.org/docs/current/warm-standby.html, synchronous replication). That must never happen to
a daemon that goes on, because it would send what a failover may take away again.
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
from shipper.store.db.opening import Database, opened
from shipper.store.db.transactions import committing, interrupt
from shipper.system.background import aside

_LOOK_EVERY = 0.5
_BREAK_OFF_EVERY = 0.1
# A standby that is there answers within milliseconds.
_WAITS = 2.0
_ASK_EVERY = 10.0
_TELL_EVERY = 60.0


class CommitWatch:
    """Watches the commits of a session, from when it takes its outbox until it gives it back."""

    def __init__(self, database: Database, address: Address, clock: Clock, log: Log) -> None:
        self.known_to_wait = 0
        """How often the server has said so: the drain doesn't turn then, and is well."""
        self._database = database
        self._address = address
        self._clock = clock
        self._log = log
        self._commit: object | None = None
        self._began = self._asked_at = 0.0
        self._told_at: float | None = None
        self._is_told = False
        self._broken_off = False

    @property
    def is_waiting(self) -> bool:
        """Return whether one waits for a standby, and that was told."""
        return self._is_told

    async def watch(self, stop: asyncio.Event, *, breaks_off: bool) -> None:
        """Watch them until cancelled; `breaks_off` says that `stop` may end a wait."""
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
        # The second one waits for the same standby, which we know to be away.
        if self._broken_off or now - self._began >= _WAITS:
            self._broken_off = True
            await aside(partial(interrupt, self._database), "interrupt")

    async def _ask(self, now: float) -> None:
        if now - self._began < _WAITS or now - self._asked_at < _ASK_EVERY:
            return
        self._asked_at = now
        with suppress(ShipperError):  # the drain says what it is told itself
            found = await aside(partial(_waiting, self._address), "commits")
            if found is not None:
                self.known_to_wait += 1
                self._tell(found, now)

    def _tell(self, found: commits.Waiting, now: float) -> None:
        if self._is_told or (self._told_at is not None and now - self._told_at < _TELL_EVERY):
            return
        self._log("store.commit_waits", reason=str(found), hint=commits.FIX)
        self._told_at, self._is_told = now, True

    def _ended(self, now: float) -> None:
        if self._is_told:
            self._log("store.back", seconds=round(now - self._began, 3))
        self._is_told = False


@asynccontextmanager
async def watched(
    database: Database, address: Address, clock: Clock, log: Log, stop: asyncio.Event
) -> AsyncIterator[CommitWatch]:
    """Watch the commits within; `stop` ends a wait, unless it is set from the start."""
    found = CommitWatch(database, address, clock, log)
    if database.dialect.name != "postgresql":
        yield found
        return
    watching = asyncio.create_task(found.watch(stop, breaks_off=not stop.is_set()))
    try:
        yield found
    finally:
        watching.cancel()
        await asyncio.wait({watching})


def _waiting(address: Address) -> commits.Waiting | None:
    with opened(address.settings.url, renewed=address.read_url) as database:
        return commits.waiting(database)

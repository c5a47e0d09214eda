"""How long a stop waits for the database: one budget for all waits.

Tries in flight can finish first (`Dispatcher.may_finish`). From then on the database has a few
seconds to record their results. A statement that the server never answers can delay it, or a write
lock that an application holds, or the first login. Then its work is interrupted and abandoned.
Nothing is lost: the state is that of a crash, with all claims on disk. The budget must never run
before a stop is asked for.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.requests import Stop
from shipper.drain import Dispatcher
from shipper.errors import DatabaseAbandoned
from shipper.logs import Log
from shipper.store.db.failures import file_of
from shipper.store.db.opening import Database
from shipper.store.db.sqlite import holders
from shipper.store.db.transactions import hang_up, interrupt
from shipper.system.background import aside
from shipper.system.waiting import is_set_within

STORE_GRACE: Final = 5.0
"""Seconds for the database after the last try has ended: as long as the longest wait for a lock."""
_LOOK_EVERY = 0.1
_BREAK_OFF_WITHIN = 2.0
_HINT = "nothing is lost: the next start recovers the claims; look at the database"


class StopBudget:
    """The budget of a session, from its request for the outbox until the release."""

    def __init__(self, thread: DatabaseThread, database: Database, log: Log) -> None:
        self.dispatchers: list[Dispatcher] = []
        """The dispatchers whose tries in flight a stop waits for: this session's, and the one of an
        earlier session that hasn't ended yet."""
        self.is_over = False
        self._thread = thread
        self._database = database
        self._log = log

    async def keep(self, stop: Stop) -> None:
        """Wait for a stop, then until the budget is used up; then abandon the database."""
        await stop.wait()
        if await self._is_used_up(stop.now):
            reason = f"the database has not finished within {STORE_GRACE:g} s of a stop"
        else:
            reason = "a second signal: the stop doesn't wait for the database"
            for dispatcher in self.dispatchers:
                dispatcher.cut_off()
        reason += _held_by(self._database)
        self.is_over = True
        self._thread.abandon(DatabaseAbandoned(reason, _HINT))
        self._log("store.given_up", reason=reason, hint=_HINT)
        await asyncio.wait(
            {aside(partial(_break_off, self._database), "break off")}, timeout=_BREAK_OFF_WITHIN
        )

    async def _is_used_up(self, now: asyncio.Event) -> bool:
        """Wait until the budget is used up and return True; return False at a second signal."""
        clock = asyncio.get_running_loop().time
        since = clock()
        while clock() - since < STORE_GRACE:
            if await is_set_within(now, _LOOK_EVERY):
                return False
            if any(dispatcher.may_finish for dispatcher in self.dispatchers):
                since = clock()
        return True


@asynccontextmanager
async def bounded(
    thread: DatabaseThread, database: Database, stop: Stop, log: Log
) -> AsyncIterator[StopBudget]:
    """Apply the budget to all waits of a stop in the `with`."""
    budget = StopBudget(thread, database, log)
    keeping = asyncio.create_task(budget.keep(stop))
    try:
        yield budget
    finally:
        if not budget.is_over:  # otherwise the interrupt of the server still runs
            keeping.cancel()
        await asyncio.wait({keeping})


def _held_by(database: Database) -> str:
    """Return which processes hold the write lock of an SQLite file, as far as the system shows."""
    file = file_of(database)
    found = [] if file is None else holders.writers(file)
    return f": {holders.listed(found)} holds its write lock" if found else ""


def _break_off(database: Database) -> None:
    interrupt(database)
    hang_up(database)  # a frozen server doesn't answer a request to cancel either

"""How long a stop waits for the database: the one budget that all of it has.

What is in flight may finish (`Dispatcher.may_finish`), and from then on the database has a moment
to take what came of it, whatever it is doing: a statement that a server never answers, a write lock
that an application holds, the first login. Then it is broken off, and nobody waits for it any more.
Nothing is lost by that: it is what a crash leaves, and the claims are on disk. It must never begin
before somebody has asked for a stop.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.requests import Stop
from shipper.drain import Dispatcher
from shipper.errors import GivenUp
from shipper.logs import Log
from shipper.store.db.failures import file_of
from shipper.store.db.opening import Database
from shipper.store.db.sqlite import holders
from shipper.store.db.transactions import hang_up, interrupt
from shipper.system.background import aside
from shipper.system.waiting import is_set_within

STORE_GRACE: Final = 5.0
"""Seconds that the database has after the last try has ended: as long as any lock is waited for."""
_LOOK_EVERY = 0.1
_BREAK_OFF_WITHIN = 2.0
_HINT = "nothing is lost: the next start takes up what is claimed; look at the database"


class StopBudget:
    """The budget of a session, from when it asks for its outbox until it has given it back."""

    def __init__(self, thread: DatabaseThread, database: Database, log: Log) -> None:
        self.dispatchers: list[Dispatcher] = []
        """Who may have something in flight that a stop waits for: this session, or the one before
        whose end it waits for."""
        self.is_given_up = False
        self._thread = thread
        self._database = database
        self._log = log

    async def keep(self, stop: Stop) -> None:
        """Wait for a stop, then until the budget is used up, and give the database up."""
        await stop.wait()
        if await self._is_used_up(stop.now):
            reason = f"the database has not finished within {STORE_GRACE:g} s of a stop"
        else:
            reason = "a second signal: nobody waits for the database"
            for dispatcher in self.dispatchers:
                dispatcher.cut_off()
        reason += _held_by(self._database)
        self.is_given_up = True
        self._thread.give_up(GivenUp(reason, _HINT))
        self._log("store.given_up", reason=reason, hint=_HINT)
        await asyncio.wait(
            {aside(partial(_break_off, self._database), "break off")}, timeout=_BREAK_OFF_WITHIN
        )

    async def _is_used_up(self, now: asyncio.Event) -> bool:
        """Return True once it is, False where somebody wants the end at once."""
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
    """Bound by the budget for what a stop waits within."""
    budget = StopBudget(thread, database, log)
    keeping = asyncio.create_task(budget.keep(stop))
    try:
        yield budget
    finally:
        if not budget.is_given_up:  # else the server is to hear of it, if it can
            keeping.cancel()
        await asyncio.wait({keeping})


def _held_by(database: Database) -> str:
    """Return who holds the write lock of an SQLite file, as far as that can be seen."""
    file = file_of(database)
    who = [] if file is None else holders.writers(file)
    return f": {holders.listed(who)} holds its write lock" if who else ""


def _break_off(database: Database) -> None:
    interrupt(database)
    hang_up(database)  # a server that stands still doesn't answer a request to cancel either

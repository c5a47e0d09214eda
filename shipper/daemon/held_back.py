"""Log when an open transaction keeps the newest events back (PostgreSQL).

The daemon logs one event when the wait exceeds the bound that `status` uses, and one when the wait
is over. It logs the next wait only after `LOG_EVERY`: an application that often leaves a
transaction open must never fill the log.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Final

from shipper.daemon.session import Session
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.observe.guard import repeat
from shipper.observe.situation import open_for
from shipper.observe.troubles import OPEN_LONG, held_back
from shipper.store.db.dialect import dialect_of
from shipper.store.db.opening import Database
from shipper.store.report.status import Blocker, commit_blockers

LOOK_EVERY: Final = 10.0
LOG_EVERY: Final = 600.0


class HeldBack:
    """What has been logged about events that are kept back. It outlives a reload."""

    def __init__(self) -> None:
        self._since: float | None = None  # set while the log says that events are kept back
        self._logged_at = -inf

    def take(self, blockers: Sequence[Blocker], seconds: float, now: float, log: Log) -> None:
        """Take in which transactions the newest events wait for, and how long the oldest is open.

        `now` is monotonic.
        """
        if seconds <= OPEN_LONG:
            if self._since is not None:
                log("order.free", seconds=round(now - self._since))
            self._since = None
        elif self._since is None and now - self._logged_at >= LOG_EVERY:
            trouble = held_back(blockers[0])
            log("order.held_back", reason=trouble.text, hint=trouble.fix, seconds=round(seconds))
            self._since, self._logged_at = now - seconds, now


async def watch(session: Session, found: HeldBack, log: Log) -> None:
    """Look every `LOOK_EVERY` seconds until cancelled, beside the drain's own queries."""
    upkeep = session.upkeep

    async def look() -> None:
        with suppress(ShipperError):  # the drain reports a lost database itself
            blockers, seconds = await upkeep.run(partial(_look, upkeep.database))
            found.take(blockers, seconds, session.clock.monotonic(), log)

    if dialect_of(upkeep.database).may_hold_back:
        await repeat("held_back", look, LOOK_EVERY, log)


def _look(database: Database) -> tuple[Sequence[Blocker], float]:
    blockers = commit_blockers(database)
    return blockers, open_for(database, blockers)

"""Tells of events for a destination that the configuration doesn't know: nothing else would.

Once for each name in the life of a daemon, also over a reload, and of so many names at most: an
application must not be able to fill the log. It must never keep the drain from its thread for
longer than a few steps in an index.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from shipper.advice import unknown_destination
from shipper.daemon.session import Session
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.observe.guard import repeat
from shipper.store.report.status import strays

LOOK_EVERY: Final = 5.0
NAMES: Final = 20


@dataclass(slots=True)
class UnknownDestinations:
    """The names that have been told of."""

    told: set[str] = field(default_factory=set)

    async def look(self, session: Session, log: Log) -> None:
        """Tell of each name that is new."""
        if len(self.told) >= NAMES:
            return
        settings, upkeep = session.settings, session.upkeep
        known = {*settings.destinations, *self.told}
        room = NAMES - len(self.told)
        with suppress(ShipperError):  # that the database is away is the drain's to tell
            found = await upkeep.run(partial(strays, upkeep.database, known, room))
            for stray in found:
                self.told.add(stray.key)
                config = str(settings.path or "the configuration")
                log(
                    "destination.unknown",
                    destination=stray.name,
                    pending=stray.pending,
                    hint=unknown_destination(stray.name, settings.destinations, config),
                )


async def watch(session: Session, found: UnknownDestinations, log: Log) -> None:
    """Look now and then until cancelled."""
    await repeat("strays", lambda: found.look(session, log), LOOK_EVERY, log)

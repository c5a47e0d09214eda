"""Log that events have a destination which isn't configured: the drain never looks at them.

Each name is logged once in the life of a daemon, also across reloads, and at most `NAMES` of them:
an application must never be able to fill the log. A look must never keep the database's thread for
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
    """The names that have been logged."""

    logged: set[str] = field(default_factory=set)

    async def look(self, session: Session, log: Log) -> None:
        """Log each new name."""
        if len(self.logged) >= NAMES:
            return
        settings, upkeep = session.settings, session.upkeep
        known = {*settings.destinations, *self.logged}
        room = NAMES - len(self.logged)
        with suppress(ShipperError):  # the drain reports a lost database itself
            found = await upkeep.run(partial(strays, upkeep.database, known, room))
            for stray in found:
                self.logged.add(stray.key)
                config = str(settings.path or "the configuration")
                log(
                    "destination.unknown",
                    destination=stray.name,
                    pending=stray.pending,
                    hint=unknown_destination(stray.name, settings.destinations, config),
                )


async def watch(session: Session, found: UnknownDestinations, log: Log) -> None:
    """Look every `LOOK_EVERY` seconds until cancelled."""
    await repeat("strays", lambda: found.look(session, log), LOOK_EVERY, log)

"""Log that another daemon of the outbox has other settings for what they share (PostgreSQL).

Each daemon looks for itself, so the log of each of the two says it. It is logged again only when
the differences change: a difference that stays must never fill the log. A look must never change
anything: which of two values is right, only an operator knows.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from shipper.advice import differing_settings
from shipper.config.agreement import agreement, differences
from shipper.daemon.session import Session
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.observe.guard import repeat
from shipper.store.db.dialect import dialect_of
from shipper.store.report.agreements import other_daemons
from shipper.store.report.daemon_rows import JoinedDaemon

LOOK_EVERY: Final = 5.0


@dataclass(slots=True)
class OtherDaemons:
    """In what each of the other daemons differs, as it was logged last. It outlives a reload."""

    logged: dict[int, list[str]] = field(default_factory=dict)

    def take(self, mine: str, others: list[JoinedDaemon], log: Log) -> None:
        """Log each daemon whose differences from `mine`, an `agreement`, have changed."""
        found = {other.token: differences(mine, other.settings) for other in others}
        for other in others:
            settings = found[other.token]
            if settings and settings != self.logged.get(other.token):
                hint = differing_settings(settings)
                log("daemon.differs", name=str(other), settings=settings, hint=hint)
        self.logged = found


async def watch(session: Session, found: OtherDaemons, log: Log) -> None:
    """Look every `LOOK_EVERY` seconds until cancelled, while this daemon isn't alone."""
    upkeep = session.upkeep

    async def look() -> None:
        if session.dispatcher.shares.daemons < 2:
            found.take("", [], log)
            return
        with suppress(ShipperError):  # the drain reports a lost database itself
            others = await upkeep.run(partial(other_daemons, upkeep.database))
            found.take(agreement(session.settings), others, log)

    if not dialect_of(upkeep.database).is_file:
        await repeat("other_daemons", look, LOOK_EVERY, log)

"""Probe a destination that is down as soon as another daemon has reached it again (PostgreSQL).

Several daemons that see a destination down probe it rarely, each for itself. So the first to reach
it has to wake the others; and one that can't reach what the others can has to know that it probes
alone. It decides how often to look for that: only while a destination is down, for whatever reason,
and only if there are several daemons. Which change is a reason to probe, the link decides.
"""

from contextlib import suppress
from functools import partial
from typing import Final

from shipper.daemon.session import Session
from shipper.errors import ShipperError
from shipper.logs import Log
from shipper.observe.guard import repeat
from shipper.store.db.dialect import dialect_of
from shipper.store.report.up_elsewhere import up_elsewhere

LOOK_EVERY: Final = 2.0


async def watch(session: Session, log: Log) -> None:
    """Look every `LOOK_EVERY` seconds until cancelled; where a daemon is alone, not at all."""
    upkeep, dispatcher = session.upkeep, session.dispatcher

    async def look() -> None:
        down = {name for name, route in dispatcher.routes.items() if route.link.is_down}
        if not down or dispatcher.shares.daemons < 2:
            return
        with suppress(ShipperError):  # the drain reports a lost database itself
            token = session.outbox.queue.token
            up = await upkeep.run(partial(up_elsewhere, upkeep.database, token, down))
            now, routes = session.clock.monotonic(), dispatcher.routes
            for name in down & routes.keys():
                if routes[name].link.hear(up[name], now):
                    dispatcher.wake()

    if not dialect_of(upkeep.database).is_file:
        await repeat("links_elsewhere", look, LOOK_EVERY, log)

"""Files that are read once, at the start of a session, and replaced under it: a new session begins.

An API ID is read anew by itself (`chores.CredentialWatch`), and the database's URL for each login.
Of certificates and the addresses of alarms more hangs: what is in flight ends first. Only these
files are read again, and never the configuration; where they can't be used, the session goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from shipper.chores import fingerprint
from shipper.clock import Clock
from shipper.config import Settings
from shipper.daemon import alerts
from shipper.daemon.session import try_out
from shipper.errors import ShipperError
from shipper.logs import Log

LOOK_EVERY = 2.0


@asynccontextmanager
async def renewing(
    settings: Settings, clock: Clock, log: Log, renew: Callable[[Settings], None]
) -> AsyncIterator[None]:
    """Watch the files for the length of a `with`; `renew` is told the settings to go on with."""
    watching = asyncio.create_task(_watch(settings, clock, log, renew))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(
    settings: Settings, clock: Clock, log: Log, renew: Callable[[Settings], None]
) -> None:
    seen = {path: fingerprint(path) for path in _files(settings)}
    while seen:
        await asyncio.sleep(LOOK_EVERY)
        now = {path: fingerprint(path) for path in seen}
        changed = [str(path) for path in seen if now[path] != seen[path]]
        seen = now
        if not changed:
            continue
        try:
            fresh = replace(settings, alerts=settings.alerts.renewed())
            alerts.hooks(fresh.alerts)
            await try_out(fresh, clock)
        except ShipperError as error:
            log("file.unusable", paths=changed, reason=error.message)
        else:
            log("file.changed", paths=changed)
            renew(fresh)
            return


def _files(settings: Settings) -> Iterator[Path]:
    found = [destination.ca_file for destination in settings.destinations.values()]
    told = settings.alerts
    found += [told.ca_file, told.heartbeat_url_file, told.webhook_url_file]
    yield from dict.fromkeys(path for path in found if path is not None)

"""Watch the files that are read once, when a configuration is applied.

The courier rereads an API ID file by itself (`chores.CredentialWatch`), and each login rereads the
database's URL. This module notices a new certificate or alert URL and asks to apply the present
configuration again, as a reload does. It must never read the configuration file itself. If a new
file can't be used, the old content stays in force.
"""

from collections.abc import Callable

from shipper.daemon.chores import fingerprint
from shipper.daemon.destinations import SeenFiles
from shipper.logs import Log
from shipper.observe.guard import repeat

LOOK_EVERY = 2.0


async def watch_files(seen: SeenFiles, renew: Callable[[list[str]], None], log: Log) -> None:
    """Watch the files until cancelled; call `renew` with the paths that have changed."""

    async def look() -> None:
        nonlocal seen
        now = {path: fingerprint(path) for path in seen}
        changed = [str(path) for path in seen if now[path] != seen[path]]
        if changed:
            renew(changed)
        seen = now  # not earlier: if `renew` failed, the next look calls it again

    if seen:
        await repeat("files", look, LOOK_EVERY, log, first=LOOK_EVERY)

"""Files that are read once, when the configuration is taken, and replaced under the daemon.

An API ID is read anew by itself (`chores.CredentialWatch`), and the database's URL for each login.
A certificate, or the address of an alarm, is noticed here: the configuration that is in force is
taken once more, as at a reload, but never read; where a file can't be used, it stays as it was.
"""

from collections.abc import Callable

from shipper.daemon.chores import fingerprint
from shipper.daemon.destinations import SeenFiles
from shipper.logs import Log
from shipper.observe.guard import repeat

LOOK_EVERY = 2.0


async def watch_files(seen: SeenFiles, renew: Callable[[list[str]], None], log: Log) -> None:
    """Watch the files until cancelled; `renew` is told which are others by now."""

    async def look() -> None:
        nonlocal seen
        now = {path: fingerprint(path) for path in seen}
        changed = [str(path) for path in seen if now[path] != seen[path]]
        if changed:
            renew(changed)
        seen = now  # not before: what couldn't be said is said at the next look

    if seen:
        await repeat("files", look, LOOK_EVERY, log, first=LOOK_EVERY)

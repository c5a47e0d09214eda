"""Watch the files that are read once, when a configuration is applied.

The courier rereads the files of secrets by itself (`chores.CredentialWatch`), and each login
rereads the database's URL. This module notices a new certificate or alert URL and asks to apply the
present configuration again, as a reload does. It must never read the configuration file itself. If
a new file can't be used, the old content stays in force.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from shipper.logs import Log
from shipper.observe.guard import repeat

LOOK_EVERY = 2.0

Fingerprint: TypeAlias = tuple[int, int, int, int]
SeenFiles: TypeAlias = Mapping[Path, Fingerprint | None]
"""Files, each with its fingerprint when it was last read; None for a file that wasn't there."""


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


def fingerprint(path: Path) -> Fingerprint | None:
    """Return a value that changes when a file is written or replaced; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    # The change time (ctime) also differs if a copy was given the old file's modification time.
    return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)

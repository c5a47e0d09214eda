"""Which processes of this machine have an SQLite file open or locked, as far as `/proc` tells.

Only for messages: it must never decide anything. Another user's processes may be hidden, and one
of another container has no number here.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

# SQLite's own places: the byte of the -shm that the writer of a WAL locks, and the range of the
# file that a rollback journal's writer locks (sqlite3.c, WAL_WRITE_LOCK and PENDING_BYTE).
_WAL_WRITER = range(120, 121)
_FILE_WRITER = range(0x4000_0000, 0x4000_0000 + 512)
_NAMED = 3


def writers(file: Path) -> list[str]:
    """Return who holds the write lock of an SQLite file, as `process 4711 (php-fpm)`."""
    real = Path(os.path.realpath(file))
    places = [(real.with_name(real.name + "-shm"), _WAL_WRITER), (real, _FILE_WRITER)]
    found: dict[int, None] = {}
    for path, places_in_it in places:
        with suppress(OSError):
            inode = path.stat().st_ino
            found.update(dict.fromkeys(_lockers(inode, places_in_it)))
    return list(_described(found))


def openers(names: Iterable[str]) -> list[str]:
    """Return who else has one of these files open; a removed one ends with ` (deleted)`."""
    wanted = frozenset(names)
    found: list[int] = []
    with suppress(OSError):
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) != os.getpid():
                with suppress(OSError):
                    if any(_leads_to(one, wanted) for one in (process / "fd").iterdir()):
                        found.append(int(process.name))
    return list(_described(found))


def listed(found: list[str]) -> str:
    """Return processes in a row, a few of them by name."""
    more = len(found) - _NAMED
    return ", ".join(found[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _leads_to(descriptor: Path, wanted: frozenset[str]) -> bool:
    with suppress(OSError):
        return str(descriptor.readlink()) in wanted
    return False


def _lockers(inode: int, places: range) -> Iterator[int]:
    # proc(5) locks: `1: POSIX ADVISORY WRITE 4711 fd:01:131077 120 120`
    for line in Path("/proc/locks").read_text("ascii", "replace").splitlines():
        fields = line.split()
        if len(fields) != 8 or fields[3] != "WRITE" or fields[5].rpartition(":")[2] != str(inode):
            continue
        pid, first = int(fields[4]), int(fields[6])
        if first in places and pid > 0 and pid != os.getpid():
            yield pid


def _described(pids: Iterable[int]) -> Iterator[str]:
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
        except OSError:
            name = "?"
        yield f"process {pid} ({''.join(c for c in name if c.isprintable())})"

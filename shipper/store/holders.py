"""Which processes of this machine have an SQLite file open or locked, as far as `/proc` tells.

What it finds is there, but not finding anything means nothing: another user's processes may be
hidden, and one of another container has no number here.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

# SQLite's own places (sqlite3.c: WAL_WRITE_LOCK, UNIX_SHM_DMS and PENDING_BYTE). In the -shm: the
# byte that the writer of a WAL locks, and the one that everybody locks who has a WAL open. In the
# file: the range that the writer of a rollback journal locks, and whoever reads or has a WAL open.
_WAL_WRITER = range(120, 121)
_WAL_OPEN = range(128, 129)
_FILE = range(0x4000_0000, 0x4000_0000 + 512)
_NAMED = 3


def writers(file: Path) -> list[str]:
    """Return who holds the write lock of an SQLite file, as `process 4711 (php-fpm)`."""
    real = Path(os.path.realpath(file))
    places = [(real.with_name(real.name + "-shm"), _WAL_WRITER), (real, _FILE)]
    found: dict[int, None] = {}
    for path, places_in_it in places:
        with suppress(OSError):
            inode = path.stat().st_ino
            found.update(dict.fromkeys(_lockers(inode, places_in_it, "WRITE")))
    return list(_described(pid for pid in found if pid != os.getpid()))


def strangers(file: Path) -> list[str]:
    """Return who has the -wal of an SQLite file open, but another file than this one with it.

    That is what a file leaves behind when another is moved into its place while it is open. This
    process doesn't count: it looks at its own files before each transaction (`transactions.Kept`),
    and after an error of the disk its locks may be others than it thinks.
    """
    wal, database = _locking(file)
    return list(_described(sorted(wal - database - {os.getpid()})))


def mixers(file: Path) -> list[str]:
    """Return who has both open: an SQLite file, and the -wal at its place; this process, too."""
    wal, database = _locking(file)
    return list(_described(sorted(wal & database)))


def _locking(file: Path) -> tuple[set[int], set[int]]:
    """Return who has the -wal of a file open, and who the file: he holds a lock all the time."""
    real = Path(os.path.realpath(file))
    with suppress(OSError):
        memory, database = (real.with_name(f"{real.name}-shm").stat(), real.stat())
        if wal := set(_lockers(memory.st_ino, _WAL_OPEN)):
            return wal, set(_lockers(database.st_ino, _FILE))
    return set(), set()


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


def _lockers(inode: int, places: range, kind: str = "") -> Iterator[int]:
    """Yield who holds locks in these places of a file, of one kind or of any."""
    # proc(5) locks: `1: POSIX ADVISORY WRITE 4711 fd:01:131077 120 120`
    for line in Path("/proc/locks").read_text("ascii", "replace").splitlines():
        fields = line.split()
        if len(fields) != 8 or fields[5].rpartition(":")[2] != str(inode):
            continue
        if kind and fields[3] != kind:
            continue
        pid, first = int(fields[4]), int(fields[6])
        if first in places and pid > 0:
            yield pid


def _described(pids: Iterable[int]) -> Iterator[str]:
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
        except OSError:
            name = "?"
        yield f"process {pid} ({''.join(c for c in name if c.isprintable())})"

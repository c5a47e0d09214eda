"""Which processes of this machine have an SQLite file open or locked, as far as `/proc` shows.

A process that is found certainly exists. If none is found, that proves nothing: processes of
another user can be hidden, and a process of another container has no number here.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shipper.store.db.sqlite.place import device
from shipper.system.files import followed

# The bytes that SQLite locks (sqlite3.c: WAL_WRITE_LOCK, UNIX_SHM_DMS and PENDING_BYTE). In the
# -shm: the byte of the process that writes a WAL, and the byte of each that has a WAL open. In the
# file: the range of the process that writes a rollback journal, and of each that reads the file or
# has its WAL open.
_WAL_WRITER = range(120, 121)
_WAL_OPEN = range(128, 129)
_FILE = range(0x4000_0000, 0x4000_0000 + 512)
_NAMED = 3
DELETED = " (deleted)"
"""What the kernel adds to the path of an open file that was removed."""


class _Lock(NamedTuple):
    """A lock: type, kind, the process that holds it, the file, and the first byte."""

    owner: str
    kind: str
    pid: int
    device: tuple[int, int]
    inode: int
    first: int


def writers(file: Path) -> list[str]:
    """Return the processes that hold the write lock of a file, as `process 4711 (php-fpm)`."""
    real = followed(file)
    places = [(_shm(real), _WAL_WRITER), (real, _FILE)]
    found: dict[int, None] = {}
    with suppress(OSError):
        locks = [lock for lock in _locks() if lock.kind == "WRITE"]
        for path, places_in_it in places:
            found.update(dict.fromkeys(_lockers(locks, path, places_in_it)))
    return described(pid for pid in found if pid != os.getpid())


def strangers(file: Path) -> list[str]:
    """Return the processes that have the -wal beside this file open, but not this file.

    They have an older file open: another file was moved into its place since then. This process
    doesn't count: it checks its own files before each transaction (`safeguard`), and after a disk
    error it can hold other locks than it expects.
    """
    wal, database = _locking(file)
    return described(sorted(wal - database - {os.getpid()}))


def mixers(file: Path) -> list[str]:
    """Return the processes that have both the file and the -wal beside it open, ours too."""
    wal, database = _locking(file)
    return described(sorted(wal & database))


def elsewhere(file: Path) -> tuple[set[int], set[int]]:
    """Return the other processes that have a removed -wal or -shm of a file open: surely, maybe.

    A process is in the second set if it locks the file, but not the -shm beside it. Such a process
    can also be about to open the -shm, or be reading a file without a WAL. If we can't see the
    descriptors of a process, it is in the first set only if its locks prove it.
    """
    wal, database = (found - {os.getpid()} for found in _locking(file))
    real = followed(file)
    removed = frozenset(f"{real}{suffix}{DELETED}" for suffix in ("-wal", "-shm"))
    surely = {pid for pid in wal | database if _has_open(pid, removed)}
    if not os.path.lexists(f"{real}-wal"):
        surely |= wal  # no process has a -shm open without the -wal
    return surely, database - wal - surely


def without_ours(file: Path) -> set[int]:
    """Return the processes that lock a file, but not the -shm that this process has open with it.

    Return no process if the kernel doesn't show our own locks on both files: then it doesn't show
    other locks either.
    """
    wal, database = _locking(file)
    return database - wal if os.getpid() in wal & database else set()


def is_guarded(file: Path, first: int) -> bool:
    """Return whether an open file description has locked this byte of a file (`F_OFD_SETLK`)."""
    real = followed(file)
    with suppress(OSError):
        found = _of_file(_locks(), real, range(first, first + 1))
        return any(lock.owner == "OFDLCK" for lock in found)
    return False


def _locking(file: Path) -> tuple[set[int], set[int]]:
    """Return which processes have the -wal open, and which the file, by their locks."""
    real = followed(file)
    with suppress(OSError):
        locks = _locks()
        return _lockers(locks, _shm(real), _WAL_OPEN), _lockers(locks, real, _FILE)
    return set(), set()


def openers(names: Iterable[str]) -> list[str]:
    """Return the other processes that have one of these files open.

    The name of a removed file ends with ` (deleted)`.
    """
    wanted = frozenset(names)
    found: list[int] = []
    with suppress(OSError):
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) != os.getpid():
                pid = int(process.name)
                if _has_open(pid, wanted):
                    found.append(pid)
    return described(found)


def listed(found: list[str]) -> str:
    """Return processes as one text, a few of them by name."""
    more = len(found) - _NAMED
    return ", ".join(found[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def described(pids: Iterable[int]) -> list[str]:
    """Return processes as `process 4711 (php-fpm)`."""
    return [f"process {pid} ({_name(pid)})" for pid in pids]


def _name(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "?"
    return "".join(c for c in name if c.isprintable())


def _has_open(pid: int, wanted: frozenset[str]) -> bool:
    with suppress(OSError):
        return any(_leads_to(one, wanted) for one in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _leads_to(descriptor: Path, wanted: frozenset[str]) -> bool:
    with suppress(OSError):
        return str(descriptor.readlink()) in wanted
    return False


def _shm(real: Path) -> Path:
    return real.with_name(f"{real.name}-shm")


def _lockers(locks: Iterable[_Lock], path: Path, places: range) -> set[int]:
    """Return the processes that hold one of these locks in these places of a file."""
    return {lock.pid for lock in _of_file(locks, path, places) if lock.pid > 0}


def _of_file(locks: Iterable[_Lock], path: Path, places: range) -> list[_Lock]:
    """Return which of these locks are in these places of a file; none if there is no file.

    A file on another file system can have the same inode number.
    """
    try:
        inode = path.stat().st_ino
    except OSError:
        return []
    found = [lock for lock in locks if lock.inode == inode and lock.first in places]
    its = device(str(path)) if found else None
    return [lock for lock in found if its in {None, lock.device}]


def _locks() -> list[_Lock]:
    """Return the locks on this machine, as far as the kernel shows them."""
    found = []
    # proc(5) locks: `1: POSIX ADVISORY WRITE 4711 fd:01:131077 120 120`, device in hexadecimal
    for line in Path("/proc/locks").read_text("ascii", "replace").splitlines():
        # A process that waits for a lock has one field more; a lock without a file has `<none>:0`.
        with suppress(ValueError):
            _, owner, _, kind, pid, file, first, _ = line.split()
            major, minor, inode = file.split(":")
            its = (int(major, 16), int(minor, 16))
            found.append(_Lock(owner, kind, int(pid), its, int(inode), int(first)))
    return found

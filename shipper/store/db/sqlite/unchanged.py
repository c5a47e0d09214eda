"""Whether anything was made, removed or renamed in a directory since it was last checked.

A check of the database file, its -wal, its -shm and our lock takes five calls of the system. The
time of the directory shows with one call that none of them was removed or replaced. The time is
trusted only if it was old at the check: a file system gives changes within one tick of its clock
the same time. It must never be trusted for long: a symbolic link above the directory, another name
of a file, and a file system whose clock ticks once a second don't show in it.
"""

import os
from collections.abc import Callable
from pathlib import Path

# Seconds. Linux has a tick of at most 10 ms.
_TICK = 0.02
_TRUSTED_FOR = 0.05


class CheckedDirectory:
    """A directory, and when the files in it were last checked. `monotonic` is in seconds."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = os.fspath(path)
        self._monotonic = monotonic
        self._seen: tuple[int, ...] | None = None
        self._since = self._looked_at = 0.0
        self._checked_at = -_TRUSTED_FOR

    def is_unchanged(self) -> bool:
        """Return whether the files needn't be checked now."""
        self._looked_at = now = self._monotonic()
        try:
            found = os.stat(self._path)  # noqa: PTH116 - before each transaction
        except OSError:
            self._seen = None
            return False
        # A program can set mtime back (tar, rsync, cp -p), but not ctime.
        seen = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
        if seen != self._seen:
            self._seen, self._since = seen, now
            return False
        was_old = self._checked_at - self._since >= _TICK
        return was_old and now - self._checked_at < _TRUSTED_FOR

    def checked(self) -> None:
        """Note that the files were checked after the last `is_unchanged`, and found as before."""
        self._checked_at = self._looked_at

"""Which process ships an SQLite outbox: one at a time, by two locks of the kernel.

Both locks end with their process, however it ends. One is on a file beside the database, which
shows any process that a daemon is there. The other is on the database file itself: on a byte far
behind all bytes that SQLite locks (sqlite3.c, PENDING_BYTE), and of the kind that belongs to a
descriptor and not to a process (fcntl(2), F_OFD_SETLK). It also works if the lock file was removed
or replaced, or if the directory is mounted at another place.

It must never close a descriptor of the database file while this process can have the file open:
that would drop SQLite's locks on it (sqlite.org/howtocorrupt.html, 2.2). It must never change the
mode or the owner of a file that it hasn't just made: other users can write in the directory.
"""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shipper.errors import AccessDenied, OutboxHeld, StoreUnavailable
from shipper.store.db.sqlite import holders
from shipper.system.files import Directory, Untrusted

SUFFIX = ".shipper.lock"
NOTE_SIZE = 1024
"""How many bytes of the lock file are for its holder's notes; see `report.silence`."""
NOTE_BEGINS = b'{"seen":'

_OUR_BYTE = 1 << 62
# How many database files a process can lock before it closes a descriptor.
_GUARDS_MAX = 64


class FileLock:
    """The locks of an SQLite file, held by one daemon for as long as its process lives."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.path = database.with_name(database.name + SUFFIX)
        self._fd: int | None = None
        self._guard: _Guard | None = None

    def acquire(self) -> None:
        """Take both locks.

        Raises OutboxHeld if another process has one of them, AccessDenied for a lock file that
        shipper can't open or trust, and StoreUnavailable.
        """
        fd = self._locked()
        try:
            guard = self._guard or _guarded(self._database)
        except BlockingIOError:
            os.close(fd)
            raise self._held() from None
        before, self._fd, self._guard = self._fd, fd, guard
        if before is not None:
            os.close(before)

    def _held(self) -> OutboxHeld:
        return OutboxHeld(
            f"another daemon holds this outbox ({self.path})",
            "stop that daemon first; `shipper status` shows what it does",
        )

    def _locked(self) -> int:
        """Lock the lock file and return its descriptor; the file is still at its place."""
        with self._beside() as directory:
            while True:
                fd = self._opened(directory)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(fd)
                    raise self._held() from None
                if directory.holds(self.path.name, fd):
                    _wipe_out_note(fd)
                    return fd
                os.close(fd)  # the file was replaced before it was locked

    @contextmanager
    def _beside(self) -> Iterator[Directory]:
        """Yield the directory; turn the errors of opening a file there into a ShipperError."""
        try:
            with Directory(self.path.parent) as directory:
                yield directory
        except Untrusted as error:
            raise AccessDenied(
                f"{self.path} {error.strerror}: it is not the lock that shipper makes",
                "find out who put it there, and remove it",
            ) from error
        except PermissionError as error:
            raise self._denied() from error
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error

    def _opened(self, directory: Directory) -> int:
        name = self.path.name
        while True:
            try:
                fd = directory.open(name, os.O_RDWR)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    return self._made(directory)
            else:
                try:
                    self._refuse_foreign(directory, os.fstat(fd))
                except BaseException:
                    os.close(fd)
                    raise
                return fd

    def _refuse_foreign(self, directory: Directory, lock: os.stat_result) -> None:
        """Raise Untrusted for a file that no daemon has made for this database.

        A daemon that ran as another user has given the file the database's mode; see `_made`.
        """
        owners = {0, os.geteuid(), directory.status().st_uid}
        with suppress(FileNotFoundError):
            database = directory.status(self._database.name)
            owners.add(database.st_uid)
            is_shared = stat.S_IMODE(lock.st_mode) == stat.S_IMODE(database.st_mode) & 0o660
            if is_shared and lock.st_gid == database.st_gid and lock.st_mode & stat.S_IWGRP:
                return
        if lock.st_uid not in owners:
            raise Untrusted(f"belongs to user {lock.st_uid}", self.path.name)

    def _made(self, directory: Directory) -> int:
        """Make the file, with the database's mode, owner and group, as SQLite does with its -wal.

        Otherwise one command of root (`drain`, for instance) would keep the service's user out.
        """
        fd = directory.make(self.path.name)
        with suppress(PermissionError, FileNotFoundError):
            database = directory.status(self._database.name)
            if stat.S_ISREG(database.st_mode):
                if os.geteuid() == 0:
                    os.fchown(fd, database.st_uid, database.st_gid)
                os.fchmod(fd, stat.S_IMODE(database.st_mode) & 0o660)
        return fd

    def _denied(self) -> AccessDenied:
        """Return what is wrong with the file, or with its directory if there is no file."""
        try:
            status = self.path.lstat()
        except OSError:
            return AccessDenied(
                f"not allowed to create {self.path.name} beside the database",
                f"the directory {self.path.parent} must be writable for the user that runs shipper",
            )
        return AccessDenied(
            f"not allowed to open {self.path}, which has the mode {stat.S_IMODE(status.st_mode):o}",
            f"chmod --reference={self._database} {self.path};"
            f" chgrp --reference={self._database} {self.path}",
        )

    def is_lost(self) -> bool:
        """Return whether the file that we have locked was removed or replaced."""
        if self._fd is None:
            return False
        try:
            there = self.path.lstat()
        except OSError:
            return True
        return not os.path.samestat(os.fstat(self._fd), there)

    def insist(self) -> None:
        """Lock the lock file again as soon as possible, if it was removed or replaced.

        Until then the lock on the database keeps out every daemon that checks it. A daemon that
        doesn't check it takes the lease, and then our next write fails.
        """
        if self.is_lost():
            with suppress(OutboxHeld, AccessDenied, StoreUnavailable):
                self.acquire()

    def is_held(self) -> bool:
        """Return whether a process holds one of the locks now."""
        return self._is_locked() or holders.is_guarded(self._database, _OUR_BYTE)

    def _is_locked(self) -> bool:
        try:
            with Directory(self.path.parent) as directory:
                fd = directory.open(self.path.name, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def release(self) -> None:
        """Release the locks. The file stays: without it two processes could lock two files."""
        if self._guard is not None:
            self._guard.release()
            self._guard = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _wipe_out_note(fd: int) -> None:
    """Overwrite the notes of the process before, and nothing else; their room stays."""
    with suppress(OSError):
        if os.pread(fd, len(NOTE_BEGINS), 0) == NOTE_BEGINS:
            os.pwrite(fd, b" " * NOTE_SIZE, 0)


# -- the lock on the database file itself ------------------------------------------------------


@dataclass(slots=True)
class _Guard:
    """A descriptor of a database file, which stays open; and whether we have its lock."""

    descriptor: int
    is_held: bool = False

    def take(self) -> None:
        """Lock our byte; raises BlockingIOError if another process has it, otherwise OSError."""
        if self.is_held:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._set(fcntl.F_WRLCK)
        self.is_held = True

    def release(self) -> None:
        self._set(fcntl.F_UNLCK)
        self.is_held = False

    def _set(self, kind: int) -> None:
        lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, _OUR_BYTE, 1, 0)
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_OFD_SETLK, lock)
        except PermissionError as error:  # POSIX allows both errors for a held lock
            raise BlockingIOError(errno.EAGAIN, error.strerror) from error


# By device and inode. No descriptor is closed while this process can have the file open; see above.
_GUARDS: dict[tuple[int, int], _Guard] = {}


def _guarded(database: Path) -> _Guard | None:
    """Return the lock on a database file; None if there is no file, or no such lock.

    Raises BlockingIOError if another process has it.
    """
    try:
        with Directory(database.parent) as directory:
            status = directory.status(database.name)
            guard = _GUARDS.get((status.st_dev, status.st_ino))
            if guard is None:
                guard = _Guard(directory.open(database.name, os.O_RDWR))
                _remember(guard)
        guard.take()
    except BlockingIOError:
        raise
    except OSError:
        return None  # gVisor has no such locks, and a user who can't write the file ships nothing
    return guard


def _remember(guard: _Guard) -> None:
    status = os.fstat(guard.descriptor)
    _GUARDS[status.st_dev, status.st_ino] = guard
    for key, other in list(_GUARDS.items()):
        is_removed = not os.fstat(other.descriptor).st_nlink
        if other is not guard and not other.is_held and (is_removed or len(_GUARDS) > _GUARDS_MAX):
            os.close(_GUARDS.pop(key).descriptor)

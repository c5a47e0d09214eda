"""The -wal and -shm of an SQLite file that we have open: what to do when they are removed.

A removed file stays for the processes that have it open, and no other process finds it. What these
processes commit goes into a file without a name, and the next process that opens the database
begins a new WAL (sqlite.org/howtocorrupt.html, 1.4; better-sqlite3 1237, hermes-agent 97329). This
module decides what can be saved. It must never write from the removed WAL once another process has
committed to a new one: that would undo or cut off what is in the file now.
"""

import errno
import fcntl
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from shipper.errors import LeaseLost, StoreUnavailable
from shipper.store.db.sqlite import holders
from shipper.system.files import Directory, followed

SUFFIXES = ("-wal", "-shm")
# To end a WAL, a process needs the database for itself: SQLite locks this range for that.
_SHARED_FIRST, _SHARED_SIZE = 0x4000_0002, 510
_KEPT = ".shipper.removed-wal"
_REPLACED = ".shipper.replaced-wal"
# How many copies of removed WALs are kept. Each takes room on the disk; when there are this many,
# an operator has to look at them first.
_KEPT_AT_MOST = 100
_Identity = tuple[int, int]


class Beside:
    """The -wal and -shm of one SQLite file, as they were when this process opened them."""

    def __init__(self, file: Path) -> None:
        self._file = followed(file)
        self._paths = {suffix: f"{self._file}{suffix}" for suffix in SUFFIXES}
        self._ours: dict[str, _Identity] = {}
        self._guard: int | None = None
        self._kept_as = ""

    def remember(self) -> None:
        """Note which files the connection that was just used has open; once per connection."""
        if not self._ours:
            for path in self._paths.values():
                opened = removed(path)
                identity = _identity(opened[0] if opened else path)
                if identity is not None:
                    self._ours[path] = identity

    def forget(self) -> None:
        """Forget them: the connection is closed."""
        self._ours = {}
        self._kept_as = ""

    def is_intact(self) -> bool:
        """Return whether another process that opens them now gets the same files."""
        return all(_identity(path) == identity for path, identity in self._ours.items())

    def save(self, driver: Any, notify: Callable[[str], None]) -> None:
        """Write the content of the removed WAL into the file, and begin a new WAL that all share.

        Raises StoreUnavailable while another process has the removed WAL open too. If another
        process has committed to a new WAL already, it copies the removed WAL to a file and raises
        LeaseLost, or StoreUnavailable as long as the copy fails. The removed WAL exists as long as
        a process has it open.
        """
        if self._is_begun_anew():
            self.protect()
            raise LeaseLost(
                f"the -wal or -shm of {self._file.name} was removed while it was open, and another"
                " process has begun a new one: what was committed after the last checkpoint of the"
                f" removed one is {self._kept()}",
                "never remove files beside an open database; shipper ships from what is there now",
            )
        try:
            # It takes the database for this process alone, writes the WAL into it, and ends it.
            driver.execute("PRAGMA journal_mode = DELETE").fetchone()
            mode = driver.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except Exception as error:
            if not hasattr(error, "sqlite_errorcode"):
                raise
            self._checkpoint(driver)
            raise self._shared() from error
        if mode != "wal":
            raise self._shared()
        self.forget()
        notify(
            f"{self._file.name}: its -wal or -shm was removed while it was open; what was in it is"
            " saved, and a new one is begun. Whatever removes such files (rsync --delete, git"
            " clean) must leave the database's directory alone"
        )

    def protect(self) -> None:
        """Keep SQLite from writing a removed WAL into the file when a connection is closed.

        SQLite does that when the last connection is closed. A lock of another kind, held until this
        process ends, makes SQLite believe that there is another connection (fcntl(2), open file
        description locks).
        """
        if self._guard is None and self._ours and not self.is_intact() and self._is_begun_anew():
            with suppress(OSError):
                with Directory(self._file.parent) as directory:
                    self._guard = directory.open(self._file.name, os.O_RDONLY)
                lock = struct.pack(
                    "hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0
                )
                fcntl.fcntl(self._guard, fcntl.F_OFD_SETLK, lock)

    def set_aside(self) -> str:
        """Move our -wal away from a file that was moved into the place of ours; return its name.

        SQLite leaves the -wal there even when the last connection is closed, and the next process
        that opens the other file would write our pages into it. Processes that have our file open
        continue to use the -wal. If a process has opened both already, the -wal must stay: the
        damage is done, and that process commits into the -wal.
        """
        if holders.mixers(self._file):
            return ""
        wal, memory = self._paths.values()
        with suppress(OSError), Directory(self._file.parent) as directory:
            if (identity := self._ours.get(memory)) and _identity(memory) == identity:
                directory.remove(Path(memory).name)  # it can be made again
            if (identity := self._ours.get(wal)) and _identity(wal) == identity:
                return self._name_anew(directory, Path(wal).name)
        return ""  # another process of shipper was faster

    def _name_anew(self, directory: Directory, name: str) -> str:
        here = directory.descriptor
        number = 0
        while True:  # no bound on the number: a renamed file takes no more room than before
            kept, number = f"{self._file.name}{_REPLACED}{number or ''}", number + 1
            with suppress(FileExistsError):
                os.link(name, kept, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
                directory.remove(name)
                return kept

    def _is_begun_anew(self) -> bool:
        """Return whether another process has written to a WAL, or with a -shm, that isn't ours."""
        wal, memory = self._paths.values()
        try:
            size = Path(wal).stat().st_size
        except OSError:
            return False
        # A process that only reads makes these files too, and leaves the WAL empty.
        return size > 0 and (
            _identity(wal) != self._ours.get(wal)
            or _identity(memory) not in {None, self._ours.get(memory)}
        )

    def _checkpoint(self, driver: Any) -> None:
        """Save what can be saved while other processes have the removed WAL open too."""
        with suppress(Exception):  # for any reason: the next look tries again
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _shared(self) -> StoreUnavailable:
        names = [path + holders.DELETED for path in self._paths.values()]
        who = holders.listed(holders.openers(names))
        return StoreUnavailable(
            f"the -wal or -shm of {self._file.name} was removed while it was open, and another"
            f" process still has it open{': ' + who if who else ''}; nothing is sent until then",
            "restart that process (the application); what it commits until then is saved as long as"
            " shipper runs",
        )

    def _kept(self) -> str:
        """Copy the removed WAL to a new name, once, and return the name.

        Raises StoreUnavailable as long as that can't be done.
        """
        name, wal = f"{self._file.name}{_KEPT}", self._paths["-wal"]
        if _identity(wal) == self._ours.get(wal):
            return f"in {Path(wal).name}, which is still there"  # only the -shm was removed
        self._kept_as = self._kept_as or self._copied(name)
        return (
            f"only in {self._kept_as}"
            if self._kept_as
            else "lost: this process doesn't have it open"
        )

    def _copied(self, name: str) -> str:
        """Copy the removed WAL to a free name; return the name only for a whole copy.

        Return '' if this process doesn't have it open. Raises StoreUnavailable if the copy fails.
        """
        wal = self._paths["-wal"]
        ours = [one for one in removed(wal) if _identity(one) == self._ours.get(wal)]
        if not ours:
            return ""
        try:
            with Directory(self._file.parent) as directory, Path(ours[0]).open("rb") as content:
                _need_room(os.fstat(content.fileno()).st_size, directory.path)
                for number in range(_KEPT_AT_MOST):
                    kept = f"{name}{number or ''}"
                    with suppress(FileExistsError):
                        made = directory.make(kept)
                        try:
                            with os.fdopen(made, "wb") as file:
                                shutil.copyfileobj(content, file)
                                file.flush()
                                os.fsync(file.fileno())
                        except OSError:
                            directory.remove(kept)
                            raise
                        return kept
        except OSError as error:
            raise self._unkept(name, error.strerror or str(error)) from error
        raise self._unkept(name, f"there are {_KEPT_AT_MOST} of them already")

    def _unkept(self, name: str, why: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"the -wal or -shm of {self._file.name} was removed while it was open, and another"
            " process has begun a new one: what was committed after the last checkpoint of the"
            f" removed one can't be kept as {name}: {why}; nothing is sent until it is",
            f"make room beside the database, or move {name}* away; don't stop shipper before that:"
            " the removed one is there as long as shipper has it open",
        )


def _need_room(size: int, place: Path) -> None:
    """Raise OSError if the disk has less room: each new try would use up the rest."""
    if size > shutil.disk_usage(place).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def removed(path: str) -> list[str]:
    """Return the descriptors by which this process has a removed file of that name open."""
    found = []
    with suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()) == path + holders.DELETED:
                    found.append(str(entry))
    return found


def _identity(path: str) -> _Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - before each transaction, and a Path takes as long
    except OSError:
        return None
    return (status.st_dev, status.st_ino)

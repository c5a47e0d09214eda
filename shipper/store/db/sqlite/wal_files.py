"""The -wal and -shm of an SQLite file that we have open: noticed when somebody removes them.

A removed file lives on for those who have it open, and nobody else finds it: what is committed
goes into a file without a name, and whoever opens the database next begins another WAL
(sqlite.org/howtocorrupt.html, 1.4; better-sqlite3 1237, hermes-agent 97329). It decides what can
be saved. It must never write from the removed WAL once somebody has committed to a new one: that
would take back, or cut off, what is there now.
"""

import errno
import fcntl
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from shipper.errors import LeaseLost, StoreUnavailable
from shipper.store.db.sqlite import holders
from shipper.system.files import Directory, followed

_SUFFIXES = ("-wal", "-shm")
_DELETED = " (deleted)"
# Only a process that has the database to itself may end a WAL: SQLite locks this range for that.
_SHARED_FIRST, _SHARED_SIZE = 0x4000_0002, 510
_KEPT = ".shipper.removed-wal"
_REPLACED = ".shipper.replaced-wal"
# Each takes room on the disk. Whoever has so many has to look at them before there are more.
_KEPT_AT_MOST = 100
# Seconds. Between an opener's lock on the file and his lock on the -shm are microseconds, unless he
# is held up; a shipper that lost its -wal saves what is in that within half a second or so.
_LOOK_AGAIN_AFTER = 0.05
_LOOK_AGAIN_FOR = 1.0
# SQLite removes them as the last connection of all is closed: that takes no longer than this.
_CLOSING_LOOKS = 3

_Identity = tuple[int, int]


class Beside:
    """What lies beside one SQLite file, as it was when this process opened it."""

    def __init__(self, file: Path) -> None:
        self._file = followed(file)
        self._paths = {suffix: f"{self._file}{suffix}" for suffix in _SUFFIXES}
        self._ours: dict[str, _Identity] = {}
        self._guard: int | None = None
        self._kept_as = ""

    def remember(self) -> None:
        """Take down which files a connection that was just used has open; once for each."""
        if not self._ours:
            for path in self._paths.values():
                opened = _removed(path)
                identity = _identity(opened[0] if opened else path)
                if identity is not None:
                    self._ours[path] = identity

    def forget(self) -> None:
        """Begin anew: the connection is closed."""
        self._ours = {}
        self._kept_as = ""

    def is_intact(self) -> bool:
        """Return whether they are still the files that everybody else opens."""
        return all(_identity(path) == identity for path, identity in self._ours.items())

    def save(self, driver: Any, told: Callable[[str], None]) -> None:
        """Bring what is in the removed WAL into the file, and begin a new one that all share.

        Returns once that is done, and `told`. Raises StoreUnavailable while another process has the
        removed one open, too, and LeaseLost where one has committed to a new WAL already: then the
        removed one is kept, and as long as it can't be, StoreUnavailable is raised. It is there as
        long as it is open.
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
        told(
            f"{self._file.name}: its -wal or -shm was removed while it was open; what was in it is"
            " saved, and a new one is begun. Whatever removes such files (rsync --delete, git"
            " clean) must leave the database's directory alone"
        )

    def protect(self) -> None:
        """See to it that closing a connection writes nothing from a removed WAL into the file.

        SQLite does that for the last one that is closed. A lock of another kind, held until this
        process ends, makes it believe that it isn't the last (fcntl(2), open file description
        locks).
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
        """Take our -wal away from a file that was moved into the place of ours; say where it is.

        SQLite leaves it there, even with its last connection, and whoever opens the other file then
        would write pages of ours into it. Who has ours open goes on with it. It must not be touched
        once somebody has opened both: then the damage is done, and what he commits is in there.
        """
        if holders.mixers(self._file):
            return ""
        wal, memory = self._paths.values()
        with suppress(OSError), Directory(self._file.parent) as directory:
            if (identity := self._ours.get(memory)) and _identity(memory) == identity:
                directory.remove(Path(memory).name)  # it can be made again
            if (identity := self._ours.get(wal)) and _identity(wal) == identity:
                return self._name_anew(directory, Path(wal).name)
        return ""  # another one of us was faster

    def _name_anew(self, directory: Directory, name: str) -> str:
        here = directory.descriptor
        number = 0
        while True:  # without a bound on names: it takes no more room than it did
            kept, number = f"{self._file.name}{_REPLACED}{number or ''}", number + 1
            with suppress(FileExistsError):
                os.link(name, kept, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
                directory.remove(name)
                return kept

    def _is_begun_anew(self) -> bool:
        """Return whether somebody has written to a WAL, or with a memory, that isn't ours."""
        wal, memory = self._paths.values()
        try:
            size = Path(wal).stat().st_size
        except OSError:
            return False
        # Who has only looked has made them, too, and leaves the WAL empty.
        return size > 0 and (
            _identity(wal) != self._ours.get(wal)
            or _identity(memory) not in {None, self._ours.get(memory)}
        )

    def _checkpoint(self, driver: Any) -> None:
        """Save what can be saved while others have the removed WAL open, too."""
        with suppress(Exception):  # whatever is in the way: it is tried again with the next look
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _shared(self) -> StoreUnavailable:
        names = [path + _DELETED for path in self._paths.values()]
        who = holders.listed(holders.openers(names))
        return StoreUnavailable(
            f"the -wal or -shm of {self._file.name} was removed while it was open, and another"
            f" process still has it open{': ' + who if who else ''}; nothing is sent until then",
            "restart what has it open (the application); what is committed until then is saved as"
            " long as shipper runs",
        )

    def _kept(self) -> str:
        """Keep the removed WAL under a name of its own, once, and return where it is then.

        Raises StoreUnavailable as long as that can't be done.
        """
        name, wal = f"{self._file.name}{_KEPT}", self._paths["-wal"]
        if _identity(wal) == self._ours.get(wal):
            return f"in {Path(wal).name}, which is still there"  # only the -shm was removed
        self._kept_as = self._kept_as or self._copied(name)
        return f"only in {self._kept_as}" if self._kept_as else "lost: nobody has it open"

    def _copied(self, name: str) -> str:
        """Copy the removed WAL to a name that nobody has; never return what isn't all of it.

        '' where this process doesn't have it. Raises StoreUnavailable where it can't be copied.
        """
        wal = self._paths["-wal"]
        ours = [one for one in _removed(wal) if _identity(one) == self._ours.get(wal)]
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
    """Raise OSError where there is less: who tries again must not take the last of it each time."""
    if size > shutil.disk_usage(place).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refuse_removed(file: Path) -> None:
    """Raise StoreUnavailable while this process has a removed -wal or -shm of the file open.

    A connection that is opened now would begin a new one beside it.
    """
    real = followed(file)
    for _ in range(_CLOSING_LOOKS):
        if not any(_removed(f"{real}{suffix}") for suffix in _SUFFIXES):
            return
        Event().wait(_LOOK_AGAIN_AFTER)  # another thread may just be closing the last connection
    raise StoreUnavailable(f"the -wal or -shm of {file.name} was removed while it was open")


def refuse_mixed(file: Path) -> None:
    """Raise StoreUnavailable while the WAL at its place belongs to the file that was there before.

    Whoever opens both together writes pages of the one into the other: it is damaged for good
    (sqlite.org/howtocorrupt.html, 1.4). Another file is moved into its place while processes have
    the old one open; who knows only the new one can't tell the WAL from its own.
    """
    who = holders.strangers(file)
    if who:
        raise StoreUnavailable(
            f"another file was moved into the place of {file.name} while that was open: the -wal"
            f" there is the one before's, which {holders.listed(who)} has open; to open both"
            " together would damage the new one",
            "stop what has the old one open (the application), and move that -wal away before"
            " anything opens the new one. Never replace a database that is in use",
        )


def refuse_elsewhere(file: Path, patience: float) -> set[int]:
    """Raise StoreUnavailable while others have a removed -wal or -shm open; return who maybe has.

    Whoever opened the file now would begin another WAL beside it, and what is committed to one of
    the two is lost. A moment is waited, at most `patience` seconds, and nothing is opened for that:
    as long as we have the file open, nobody saves what is in a removed WAL by closing it.
    """
    surely, maybe = holders.elsewhere(file)
    for _ in range(round(min(patience, _LOOK_AGAIN_FOR) / _LOOK_AGAIN_AFTER)):
        if not (surely or maybe):
            break
        Event().wait(_LOOK_AGAIN_AFTER)
        before, (surely, maybe) = surely | maybe, holders.elsewhere(file)
        surely, maybe = surely & before, maybe & before
    if surely:
        raise _abandoned(file, surely)
    return maybe


def refuse_without(driver: Any, file: Path, suspects: set[int]) -> None:
    """Raise StoreUnavailable where these have another -wal or -shm open than the driver, just now.

    Those are left where `refuse_elsewhere` wasn't sure: the file may be one without a WAL.
    """
    if suspects and driver.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        who = suspects & holders.without_ours(file)
        if who:
            raise _abandoned(file, who)


def _abandoned(file: Path, pids: set[int]) -> StoreUnavailable:
    return StoreUnavailable(
        f"the -wal or -shm of {file.name} was removed while it was open, and"
        f" {holders.listed(holders.described(sorted(pids)))} still has it open: what is written to"
        " another one would be lost, or what is in that",
        "restart what has it open (the application), and let it end by itself: what it committed is"
        " saved when it closes the file",
    )


def _removed(path: str) -> list[str]:
    """Return the descriptors of this process that lead to a removed file of that name."""
    found = []
    with suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()) == path + _DELETED:
                    found.append(str(entry))
    return found


def _identity(path: str) -> _Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - before each transaction, and a Path takes as long
    except OSError:
        return None
    return (status.st_dev, status.st_ino)

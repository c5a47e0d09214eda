"""Open, create, name and remove files by descriptor, in directories that other users can write.

An outbox's directory belongs to a group (2770): application and daemon share it, and root works
there, too. Each member of the group can put a link, a pipe or a file under any name, and exchange
it between two steps of this process. So every check looks at the opened file, never at a name.

This module decides which links are followed and whose files are trusted. It follows a link only on
the way to a directory, and only if root, our own user, or the owner of the directory that holds it
made the link (the kernel's rule for sticky directories: proc(5), protected_symlinks). It must never
open a link, a pipe, a device or a file with a second name, and never change the mode or owner of a
file that it hasn't just created.
"""

import errno
import os
import re
import stat
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Self

_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
# A link that another user replaces more often than this counts as a dangling link.
_LOOKS = 3
_STANDARD = re.compile(r"/dev/(?:null|stdout|stderr|fd/\d+)")
_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH

PRIVATE = 0o600


class Untrusted(PermissionError):
    """A file that another user may have put there; `strerror` says what is wrong with it."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(errno.EPERM, what, name)


class Directory:
    """A directory that is held by its descriptor, so that a rename can't exchange it.

    Every method takes the name of an entry, and raises OSError, of which Untrusted is one.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        """Open it; raises Untrusted if a link of another user is on the way."""
        self.path = path
        self.descriptor = _reach(path) if descriptor is None else descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def open(
        self, name: str, flags: int, owners: Container[int] | None = None, *, pipes: bool = False
    ) -> int:
        """Open a regular file that has only one name and, if given, one of these owners.

        With `pipes`, a pipe of these owners is allowed, too.
        """
        try:
            file = os.open(name, flags | _SAFELY, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
                what = "is a link" if error.errno == errno.ELOOP else "is not a file"
                raise Untrusted(what, name) from None
            raise
        why_not = _why_not(os.fstat(file), owners, pipes=pipes)
        if why_not is not None:
            os.close(file)
            raise Untrusted(why_not, name)
        if pipes:
            os.set_blocking(file, True)
        return file

    def make(self, name: str, mode: int = PRIVATE) -> int:
        """Create a file and open it for reading and writing, with this mode for any umask."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY
        file = os.open(name, flags, mode & PRIVATE, dir_fd=self.descriptor)
        os.fchmod(file, mode)
        return file

    def open_or_make(
        self, name: str, flags: int, owners: Container[int], mode: int, *, pipes: bool = False
    ) -> int:
        """Open a file of one of these owners, or create it; see `open`."""
        while True:
            try:
                return self.open(name, flags, owners, pipes=pipes)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    os.close(self.make(name, mode))

    def make_directory(self, name: str, mode: int) -> "Directory":
        """Create a directory with this mode for any umask, and open it."""
        os.mkdir(name, mode & 0o700, dir_fd=self.descriptor)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(name, flags, dir_fd=self.descriptor)
        if os.fstat(made).st_uid != os.geteuid():
            os.close(made)
            raise Untrusted("was replaced by another user", name)
        os.fchmod(made, mode)
        return Directory(self.path / name, made)

    def status(self, name: str = "") -> os.stat_result:
        """Return the status of an entry, of a link itself; without a name, of the directory."""
        if not name:
            return os.fstat(self.descriptor)
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def refuse_another_kind(self, name: str) -> None:
        """Raise Untrusted unless the entry is a file with one name: no link, no pipe.

        This is for a library that opens a file by name; the entry may have been exchanged by then.
        """
        why_not = _why_not(self.status(name), None)
        if why_not is not None:
            raise Untrusted(why_not, name)

    def holds(self, name: str, file: int) -> bool:
        """Return whether the name still leads to the file with this descriptor."""
        try:
            there = self.status(name)
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(file))

    def remove(self, name: str) -> None:
        """Remove an entry, if it is there; the target of a link stays."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Return once the directory's entries are on disk."""
        # An O_PATH descriptor can't be synced.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        itself = os.open(".", flags, dir_fd=self.descriptor)
        try:
            os.fsync(itself)
        finally:
            os.close(itself)

    @property
    def may_be_changed_by_others(self) -> bool:
        """Return whether a user other than root and this process's can remove our entries."""
        status = self.status()
        is_shared = bool(status.st_mode & _OF_OTHERS) and not status.st_mode & stat.S_ISVTX
        return is_shared or status.st_uid not in {0, os.geteuid()}


def trusted(path: Path) -> Path:
    """Return where a file is: follow its name if it is a link, but only a trusted one; see above.

    Raises Untrusted for a link of another user. A name that doesn't exist is no link.
    """
    for _ in range(_MOST_LINKS):
        try:
            with Directory(path.parent) as directory:
                leads_to = _read_link(directory.descriptor, path.name)
        except Untrusted:
            raise
        except OSError:
            return path  # the caller that opens it reports what is wrong
        if leads_to is None:
            return path
        path = path.parent / leads_to
    return path


def followed(path: Path) -> Path:
    """Return where a path leads, with all links followed; never raises.

    A link can be removed or replaced while it is read, and links can form a circle: `Path.resolve`
    and `os.path.realpath` raise then. This function returns the part that can be followed; the
    caller that opens it reports what is wrong.
    """
    for _ in range(_LOOKS):
        with suppress(OSError):
            return Path(os.path.realpath(path))
    return path.absolute()


def open_own(path: Path, flags: int, mode: int = PRIVATE) -> int:
    """Open a file or a pipe of root or our own user, or create a file. Raises OSError.

    The system's own files in `/dev` (/dev/null, /dev/stdout …) are opened directly.
    """
    if _STANDARD.fullmatch(str(path)):
        return os.open(path, flags | os.O_CLOEXEC)
    path = trusted(path)
    with Directory(path.parent) as directory:
        return directory.open_or_make(path.name, flags, {0, os.geteuid()}, mode, pipes=True)


def _why_not(
    status: os.stat_result, owners: Container[int] | None, *, pipes: bool = False
) -> str | None:
    is_usable = stat.S_ISREG(status.st_mode) or (pipes and stat.S_ISFIFO(status.st_mode))
    if not is_usable:
        return "is a link" if stat.S_ISLNK(status.st_mode) else "is not a file"
    if status.st_nlink > 1:
        return f"has {status.st_nlink} names (hard links)"
    if owners is not None and status.st_uid not in owners:
        return f"belongs to user {status.st_uid}"
    return None


def _reach(path: Path) -> int:
    """Return the descriptor of a directory; raises OSError, Untrusted for another user's link."""
    steps = [*reversed(path.absolute().parts)]
    links = 0
    here = os.open("/", _PLACE | os.O_DIRECTORY)
    try:
        while steps and links <= _MOST_LINKS:
            step = steps.pop()
            leads_to = _read_link(here, step)
            if leads_to is None:
                further = os.open(step, _PLACE | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = further
            else:
                links += 1
                steps += reversed(Path(leads_to).parts)
    except BaseException:
        os.close(here)
        raise
    if steps:
        os.close(here)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return here


def _read_link(here: int, name: str) -> str | None:
    """Return the target of a link, None for no link; raises Untrusted for another user's link."""
    entry = os.open(name, _PLACE, dir_fd=here)
    try:
        status = os.fstat(entry)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if status.st_uid not in {0, os.geteuid(), os.fstat(here).st_uid}:
            raise Untrusted(f"is a link that user {status.st_uid} made", name)
        try:
            return os.readlink("", dir_fd=entry)
        except FileNotFoundError:  # gVisor can read a link only by its name
            return os.readlink(name, dir_fd=here)
    finally:
        os.close(entry)

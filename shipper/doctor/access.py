"""Whether a user can access a file, and what prevents it.

The check asks the kernel, as that user, because modes are only a part of the answer: access lists,
read-only mounts, immutable files, security modules and every directory on the way matter, too. Only
root can ask for another user, with a process that becomes that user. Without root, the check judges
the modes, and a file with an access list counts as accessible. It must never change anything.
"""

import array
import fcntl
import grp
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from shipper.doctor import probe
from shipper.system.files import followed

_PROBE_SECONDS = 20.0
_RIGHTS = {"r": 4, "w": 2, "x": 1}
# linux/fs.h: FS_IOC_GETFLAGS of a 64-bit machine, FS_IMMUTABLE_FL.
_GET_FLAGS, _IMMUTABLE = 0x80086601, 0x10


class Refusal(NamedTuple):
    """Why a user can't access a file."""

    reason: str
    """What prevents it; '' if it is only the file's owner, group and mode."""
    fix: str | None


@dataclass(frozen=True, slots=True)
class User:
    """A user with all groups, and the reason why this user is checked."""

    name: str
    uid: int
    gids: frozenset[int]
    because: str

    @classmethod
    def of(cls, uid: int, because: str, more: Iterable[int] = ()) -> "User":
        """Return the user with a number; `more` are groups on top of the system's list."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(str(uid), uid, frozenset(more), because)
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return cls(entry.pw_name, uid, frozenset({*groups, *more}), because)

    @property
    def is_asked_for(self) -> bool:
        """Return whether the check can ask the kernel; otherwise it judges only the modes."""
        return os.geteuid() in {0, self.uid}

    def refused(self, path: Path, rights: str) -> Refusal | None:
        """Return why this user lacks one of the `rights` (r, w and x), None if all are there.

        Raises OSError if there is no such file.
        """
        path.stat()
        way = _way(path)
        *passes, allowed = self._ask([*((str(place), "x") for place in way), (str(path), rights)])
        for place, passed in zip(way, passes, strict=True):
            if not passed:
                return Refusal(
                    f"{self.name} can't enter the directory {place}",
                    f"setfacl -m u:{self.name}:x {place}   (or: chmod o+x {place})",
                )
        return None if allowed else self._why_not(path, rights)

    def _why_not(self, path: Path, rights: str) -> Refusal:
        if "w" in rights and os.statvfs(path).f_flag & os.ST_RDONLY:
            return Refusal(
                "its file system is mounted read-only",
                f"findmnt --target {path}   (if that isn't meant: mount -o remount,rw)",
            )
        if "w" in rights and _is_immutable(path):
            return Refusal("it is immutable", f"chattr -i {path}")
        if self._by_mode(path, rights):
            return Refusal(
                "its mode allows that, but an access list or a security module forbids it",
                f"getfacl {path}; journalctl --dmesg --grep denied",
            )
        return Refusal("", None)

    def _ask(self, asked: Sequence[tuple[str, str]]) -> list[bool]:
        if self.uid == os.geteuid():
            return [probe.may(path, rights) for path, rights in asked]
        if os.geteuid() == 0:
            with suppress(OSError, ValueError, subprocess.SubprocessError):
                return self._ask_as_this_user(asked)
        return [
            has_access_list(path) or self._by_mode(Path(path), rights) for path, rights in asked
        ]

    def _ask_as_this_user(self, asked: Sequence[tuple[str, str]]) -> list[bool]:
        gids = sorted(self.gids) or [self.uid]
        question = json.dumps({"uid": self.uid, "gids": gids, "asked": asked})
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-S", probe.__file__],
            input=question.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        answers: list[bool] = json.loads(done.stdout)
        return answers

    def _by_mode(self, path: Path, rights: str) -> bool:
        """Return whether owner, group and mode give this user these rights."""
        try:
            status = path.stat()
        except PermissionError:
            return False
        needed = sum(_RIGHTS[right] for right in rights)
        if self.uid == 0:
            return True
        if self.uid == status.st_uid:
            given = status.st_mode >> 6
        else:
            given = status.st_mode >> (3 if status.st_gid in self.gids else 0)
        return given & needed == needed


def group_name(gid: int) -> str:
    """Return the name of a group, or its number if it has no name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def has_access_list(path: str | Path) -> bool:
    """Return whether an access list decides, too, and not only owner, group and mode."""
    return _has(path, "system.posix_acl_access")


def hands_on_rights(directory: Path) -> bool:
    """Return whether new files in a directory get an access list from it."""
    return _has(directory, "system.posix_acl_default")


def _has(path: str | Path, attribute: str) -> bool:
    try:
        return bool(os.getxattr(path, attribute))
    except OSError:
        return False  # no list, or a file system without access lists


def _way(path: Path) -> list[Path]:
    """Return the directories on the way to a file: of the path as written, and of its target."""
    real = followed(path)
    named = [place for place in path.absolute().parents if followed(place) == place]
    return sorted({*real.parents, *named}, key=lambda place: len(place.parts))


def _is_immutable(path: Path) -> bool:
    flags = array.array("l", [0])
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(file, _GET_FLAGS, flags)
        finally:
            os.close(file)
    return bool(flags[0] & _IMMUTABLE)

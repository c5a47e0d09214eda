"""What a user may do to a file, and what stands in the way.

The kernel is asked, as that user, because modes are only a part of the answer: access lists,
read-only mounts, immutable files, security modules and every directory on the way have a say. As
root that takes a process that becomes the user. Who isn't root can ask for nobody else: there the
modes are judged, and where a file has an access list nothing is claimed. It changes nothing.
"""

import array
import fcntl
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
# linux/fs.h: FS_IOC_GETFLAGS for a machine of 64 bits, FS_IMMUTABLE_FL.
_GET_FLAGS, _IMMUTABLE = 0x80086601, 0x10


class Refusal(NamedTuple):
    """Why somebody may not do something to a file."""

    reason: str
    """What stands in the way, '' where it is nothing but the file's owner, group and mode."""
    fix: str | None


@dataclass(frozen=True, slots=True)
class User:
    """A user with all groups, and why it is this one that counts."""

    name: str
    uid: int
    gids: frozenset[int]
    because: str

    @classmethod
    def of(cls, uid: int, because: str, more: Iterable[int] = ()) -> "User":
        """Return the user with a number; `more` are groups beside those that the system knows."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(str(uid), uid, frozenset(more), because)
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return cls(entry.pw_name, uid, frozenset({*groups, *more}), because)

    @property
    def is_asked_for(self) -> bool:
        """Return whether the kernel can be asked, and not only modes be read."""
        return os.geteuid() in {0, self.uid}

    def refused(self, path: Path, rights: str) -> Refusal | None:
        """Return why this user may not do all of `rights` (of r, w and x), None where it may.

        Raises OSError where there is no such file.
        """
        path.stat()
        way = _way(path)
        *passes, may = self._ask([*((str(place), "x") for place in way), (str(path), rights)])
        for place, passed in zip(way, passes, strict=True):
            if not passed:
                return Refusal(
                    f"directory {place} isn't searchable for it",
                    f"setfacl -m u:{self.name}:x {place}   (or: chmod o+x {place})",
                )
        return None if may else self._why_not(path, rights)

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
                "its mode would allow it; an access list or a security module doesn't",
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
        told = json.dumps({"uid": self.uid, "gids": gids, "asked": asked})
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-S", probe.__file__],
            input=told.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        answers: list[bool] = json.loads(done.stdout)
        return answers

    def _by_mode(self, path: Path, rights: str) -> bool:
        """Return whether owner, group and mode give this user some of r, w and x."""
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


def has_access_list(path: str | Path) -> bool:
    """Return whether more than owner, group and mode decide."""
    return _has(path, "system.posix_acl_access")


def hands_on_rights(directory: Path) -> bool:
    """Return whether files that are made in a directory get an access list from it."""
    return _has(directory, "system.posix_acl_default")


def _has(path: str | Path, attribute: str) -> bool:
    try:
        return bool(os.getxattr(path, attribute))
    except OSError:
        return False  # none, or a file system that has none


def _way(path: Path) -> list[Path]:
    """Return the directories that lead to a file: where links lead, and to where they lie."""
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

"""Checks of an SQLite outbox's file: whether the daemon and the application can both write it.

The kernel says what the daemon's user can do (`access`); the modes say what the other members of
the group can do. Sources of the rules: `store.db.sqlite.opening.create_sqlite_file`. A check must
never change a mode or an owner.
"""

import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from shipper.doctor.access import Refusal, User, group_name, hands_on_rights, has_access_list
from shipper.doctor.result import CheckResult, fault, warning, well
from shipper.observe.troubles import BUDGET_FIX
from shipper.store.db.sqlite.place import file_system, refuse_unusable_file, remark
from shipper.store.report.budget import SCARCE_DAYS, TIGHT_DAYS, Footprint
from shipper.store.report.facts import Growth
from shipper.store.upkeep.reserve import held
from shipper.system.files import followed
from shipper.wording.quantities import forecast, size

# Below these, in bytes or in days of growth, the operator has to act.
_TIGHT_BYTES, _SCARCE_BYTES = 64 << 20, 1 << 30


def check_user(user: User) -> Iterator[CheckResult]:
    """Say which user runs shipper."""
    groups = ", ".join(sorted(map(group_name, user.gids)))
    text = f"{user.name} ({user.because})" + (f", in {groups}" if groups else "")
    if not user.is_asked_for:
        text += "; judged by modes: only root can check what another user is allowed to do"
    yield well("user", text)


def check_config(paths: Iterable[Path], user: User) -> Iterator[CheckResult]:
    """Check that this user can read the configuration and the files that it names."""
    for path in paths:
        with suppress(FileNotFoundError):  # the check that reads the file reports that
            if (refused := user.refused(path, "r")) is not None:
                group = _common(user, path.parent.stat().st_gid)
                text = f"{path} {_mode(path.stat())}: {_cannot(user, 'read it', refused)}"
                fix = refused.fix or f"chgrp {group} {path}; chmod 640 {path}"
                yield fault("config", text, fix)


def check_directory(path: Path, user: User) -> Iterator[CheckResult]:
    """Check the directory: SQLite creates its -wal and -shm files there."""
    directory = path.parent
    status = directory.stat()
    text = f"{directory} {_mode(status)}"
    if status.st_mode & stat.S_ISVTX:
        yield fault(
            "directory",
            f"{text}: with the sticky bit, one user can't open the other user's -wal file",
            f"chmod -t {directory}",
        )
    elif (refused := user.refused(directory, "wx")) is not None:
        group = _common(user, status.st_gid)
        yield fault(
            "directory",
            f"{text}: {_cannot(user, 'write there', refused)}",
            refused.fix or f"chgrp {group} {directory}; chmod 2770 {directory}",
        )
    elif _leaves_out_others(status, directory):
        by_list = has_access_list(directory)
        yield warning(
            "directory",
            f"{text}: a new file belongs to its creator's group, not to the common group",
            f"setfacl -d -m u:{user.name}:rwX {directory}" if by_list else f"chmod g+s {directory}",
        )
    else:
        yield well("directory", text)


def check_files(path: Path, user: User) -> Iterator[CheckResult]:
    """Check the file and the files beside it: a user who writes one must be able to write all."""
    status = path.stat()
    text = f"{path} {_mode(status)}"
    if (refused := user.refused(path, "rw")) is not None:
        group = _common(user, path.parent.stat().st_gid)
        fix = refused.fix or f"chgrp {group} {path}; chmod 660 {path}"
        yield fault("file", f"{text}: {_cannot(user, 'read and write it', refused)}", fix)
        return
    shared = path.parent.stat().st_mode & stat.S_IWGRP
    if shared and not status.st_mode & stat.S_IWGRP:
        yield warning(
            "file",
            f"{text}: only its owner can write it, though the directory is shared",
            f"chmod 660 {path}, and restart the processes that have it open",
        )
        return
    odd = {beside: why for beside in _beside(path) if (why := user.refused(beside, "rw"))}
    if odd:
        names = " ".join(map(str, odd))
        why = next(iter(odd.values()))
        yield fault(
            "file",
            f"{names}: {_cannot(user, 'read and write them', why)}",
            why.fix or f"chgrp --reference={path} {names}; chmod --reference={path} {names}",
        )
    else:
        yield well("file", text)


def check_file_system(path: Path) -> Iterator[CheckResult]:
    """Refuse a file system on which SQLite's WAL isn't safe: see `store.db.sqlite.place`."""
    refuse_unusable_file(path)
    kind, text = file_system(str(followed(path))), remark(path)
    if text is None:
        yield well("file system", kind)
    else:
        yield warning("file system", f"{kind}: {text}", "move it to a disk that survives a restart")


def check_disk(path: Path, growth: Growth) -> Iterator[CheckResult]:
    """Say how much room is left, and for how many days without the API it is enough."""
    free = shutil.disk_usage(path.parent).free
    days = free / growth.bytes_a_day if growth.bytes_a_day else None
    text = f"{size(free)} free" + (f"; {_forecast(days, growth)}" if days is not None else "")
    fix = "make room on the disk, or: shipper prune; on a full disk the application's INSERT fails"
    if free < _TIGHT_BYTES or (days is not None and days < TIGHT_DAYS):
        yield fault("disk", text, fix)
    elif free < _SCARCE_BYTES or (days is not None and days < SCARCE_DAYS):
        yield warning("disk", text, fix)
    else:
        yield well("disk", text)


def check_reserve(path: Path, wanted: int) -> Iterator[CheckResult]:
    """Check the reserve file, which lets the daemon record deliveries on a full disk."""
    there = held(path)
    if not wanted:
        yield well("reserve", "none is configured: [space] reserve is 0B")
    elif there >= wanted:
        yield well("reserve", f"{size(wanted)}, to record deliveries on a full disk")
    elif there:
        yield fault(
            "reserve",
            f"{size(there)} of {size(wanted)} are left: the disk was full",
            "make room; a running daemon restores the reserve within a minute",
        )
    else:
        yield warning(
            "reserve",
            f"none of {size(wanted)} is there: on a full disk the daemon can't record deliveries",
            f"a running daemon creates it once {size(5 * wanted)} are free",
        )


def check_budget(taken: Footprint) -> Iterator[CheckResult]:
    """Say how much space the outbox takes, and which share of its budget that is."""
    fix = f"{BUDGET_FIX}; shipper drops nothing when the budget is exceeded"
    if taken.budget is None:
        yield well("budget", f"none is set; {taken}")
    elif taken.is_over:
        yield fault("budget", str(taken), fix)
    elif taken.is_scarce:
        yield warning("budget", str(taken), fix)
    else:
        yield well("budget", str(taken))


def _forecast(days: float, growth: Growth) -> str:
    written = f"{growth.events}, of {size(growth.bytes_each)} each"
    return f"{forecast(days)} (written in the last 24 h: {written})"


def _cannot(user: User, act: str, refused: Refusal) -> str:
    return f"{user.name} can't {act}" + (f": {refused.reason}" if refused.reason else "")


def _leaves_out_others(status: os.stat_result, directory: Path) -> bool:
    """Return whether a group can write in a directory but doesn't own the new files there."""
    shared = bool(status.st_mode & stat.S_IWGRP)
    return shared and not status.st_mode & stat.S_ISGID and not hands_on_rights(directory)


def _common(user: User, gid: int) -> str:
    """Return the group that a file should have: its own, or else one of the user's."""
    return group_name(gid if gid in user.gids else min(user.gids, default=gid))


def _beside(path: Path) -> list[Path]:
    names = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", ".shipper.lock"))
    return [name for name in names if name.exists()]


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):o} {_user(status.st_uid)}:{group_name(status.st_gid)}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

"""The file of an SQLite outbox: whether the daemon and the application can both write there.

What the daemon's user may do is the kernel's answer (`access`); what the modes promise to others of
the group is judged by the modes. Sources of the rules: `store.engine.create_sqlite_file`.
"""

import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from shipper.doctor.access import Refusal, User, hands_on_rights, has_access_list
from shipper.doctor.finding import Finding, fault, warning, well
from shipper.store.db.sqlite.place import file_system, refuse_unusable_file, remark
from shipper.store.report.budget import SCARCE_DAYS, TIGHT_DAYS, Footprint
from shipper.store.report.facts import Growth
from shipper.store.upkeep.reserve import held
from shipper.system.files import followed
from shipper.wording.quantities import forecast, size

# Less than this on the disk, in bytes or in days of growth, and somebody has to see to it.
_TIGHT_BYTES, _SCARCE_BYTES = 64 << 20, 1 << 30


def check_user(user: User) -> Iterator[Finding]:
    """Say as whom shipper runs."""
    groups = ", ".join(sorted(map(_group, user.gids)))
    text = f"{user.name} ({user.because})" + (f", in {groups}" if groups else "")
    if not user.is_asked_for:
        text += "; judged by modes, because only root can ask what somebody else may do"
    yield well("user", text)


def check_config(paths: Iterable[Path], user: User) -> Iterator[Finding]:
    """See whether the one who ships may read the configuration, and what it names."""
    for path in paths:
        with suppress(FileNotFoundError):  # who reads it says so
            if (refused := user.refused(path, "r")) is not None:
                group = _common(user, path.parent.stat().st_gid)
                told = f"{path} {_mode(path.stat())}: {_cannot(user, 'read it', refused)}"
                fix = refused.fix or f"chgrp {group} {path}; chmod 640 {path}"
                yield fault("config", told, fix)


def check_directory(path: Path, user: User) -> Iterator[Finding]:
    """Look at the directory: SQLite makes its -wal and -shm there."""
    directory = path.parent
    status = directory.stat()
    told = f"{directory} {_mode(status)}"
    if status.st_mode & stat.S_ISVTX:
        yield fault(
            "directory",
            f"{told}: with the sticky bit one user can't open the other's -wal",
            f"chmod -t {directory}",
        )
    elif (refused := user.refused(directory, "wx")) is not None:
        group = _common(user, status.st_gid)
        yield fault(
            "directory",
            f"{told}: {_cannot(user, 'write there', refused)}",
            refused.fix or f"chgrp {group} {directory}; chmod 2770 {directory}",
        )
    elif _leaves_out_others(status, directory):
        by_list = has_access_list(directory)
        yield warning(
            "directory",
            f"{told}: new files belong to whoever makes them, not to the common group",
            f"setfacl -d -m u:{user.name}:rwX {directory}" if by_list else f"chmod g+s {directory}",
        )
    else:
        yield well("directory", told)


def check_files(path: Path, user: User) -> Iterator[Finding]:
    """Look at the file and what lies beside it: who may write one must be able to write all."""
    status = path.stat()
    told = f"{path} {_mode(status)}"
    if (refused := user.refused(path, "rw")) is not None:
        group = _common(user, path.parent.stat().st_gid)
        fix = refused.fix or f"chgrp {group} {path}; chmod 660 {path}"
        yield fault("file", f"{told}: {_cannot(user, 'read and write it', refused)}", fix)
        return
    shared = path.parent.stat().st_mode & stat.S_IWGRP
    if shared and not status.st_mode & stat.S_IWGRP:
        yield warning(
            "file",
            f"{told}: only its owner can write it, though the directory is shared",
            f"chmod 660 {path}, and restart whoever has it open",
        )
        return
    odd = {beside: why for beside in _beside(path) if (why := user.refused(beside, "rw"))}
    if odd:
        names = " ".join(map(str, odd))
        why = next(iter(odd.values()))
        yield fault(
            "file",
            f"{names}: {_cannot(user, 'read and write', why)}",
            why.fix or f"chgrp --reference={path} {names}; chmod --reference={path} {names}",
        )
    else:
        yield well("file", told)


def check_file_system(path: Path) -> Iterator[Finding]:
    """Refuse a place where SQLite's WAL isn't safe: see `store.place`."""
    refuse_unusable_file(path)
    kind, told = file_system(str(followed(path))), remark(path)
    if told is None:
        yield well("file system", kind)
    else:
        yield warning("file system", f"{kind}: {told}", "put it on a disk that stays")


def check_disk(path: Path, growth: Growth) -> Iterator[Finding]:
    """Say how much room is left, and for how many days without the API."""
    free = shutil.disk_usage(path.parent).free
    days = free / growth.bytes_a_day if growth.bytes_a_day else None
    told = f"{size(free)} free" + (f"; {_forecast(days, growth)}" if days is not None else "")
    fix = "make room on the disk, or: shipper prune; a full disk fails the application's INSERT"
    if free < _TIGHT_BYTES or (days is not None and days < TIGHT_DAYS):
        yield fault("disk", told, fix)
    elif free < _SCARCE_BYTES or (days is not None and days < SCARCE_DAYS):
        yield warning("disk", told, fix)
    else:
        yield well("disk", told)


def check_reserve(path: Path, wanted: int) -> Iterator[Finding]:
    """Say whether the room for the daemon's marks on a full disk is there."""
    there = held(path)
    if not wanted:
        yield well("reserve", "none is wanted: space.reserve is 0B")
    elif there >= wanted:
        yield well("reserve", f"{size(wanted)} for the daemon's marks on a full disk")
    elif there:
        yield fault(
            "reserve",
            f"{size(there)} of {size(wanted)} are left: the disk was full",
            "make room; a running daemon takes it again within a minute",
        )
    else:
        yield warning(
            "reserve",
            f"none of {size(wanted)} is there: on a full disk the daemon can't write",
            f"a running daemon makes it, where {size(5 * wanted)} are free",
        )


def check_budget(taken: Footprint) -> Iterator[Finding]:
    """Say what the outbox takes, and how much of its budget that is."""
    fix = "shipper prune, a shorter [retention], or a larger budget; nothing is dropped for it"
    if taken.budget is None:
        yield well("budget", f"none is set; {taken}")
    elif taken.is_over:
        yield fault("budget", str(taken), fix)
    elif taken.is_scarce:
        yield warning("budget", str(taken), fix)
    else:
        yield well("budget", str(taken))


def _forecast(days: float, growth: Growth) -> str:
    return f"{forecast(days)} (written today: {growth.events}, of {size(growth.bytes_each)} each)"


def _cannot(user: User, act: str, refused: Refusal) -> str:
    return f"{user.name} can't {act}" + (f": {refused.reason}" if refused.reason else "")


def _leaves_out_others(status: os.stat_result, directory: Path) -> bool:
    """Return whether a group may write in a directory, and gets nothing of what is made there."""
    shared = bool(status.st_mode & stat.S_IWGRP)
    return shared and not status.st_mode & stat.S_ISGID and not hands_on_rights(directory)


def _common(user: User, gid: int) -> str:
    """Return the group that a file should have: the present one, or else one of the user's."""
    return _group(gid if gid in user.gids else min(user.gids, default=gid))


def _beside(path: Path) -> list[Path]:
    names = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", ".shipper.lock"))
    return [name for name in names if name.exists()]


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):o} {_user(status.st_uid)}:{_group(status.st_gid)}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

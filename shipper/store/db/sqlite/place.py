"""Where an SQLite file lies, and whether all processes that open it there share one WAL.

SQLite's WAL needs memory (`-shm`) and locks that all processes share, and one name for the file,
because SQLite finds `-wal` and `-shm` by that name (sqlite.org/wal.html;
sqlite.org/howtocorrupt.html, 2 and 8). It decides by what the kernel says of the real path. It must
never refuse a place only because the kernel says nothing: without `/proc` the place is `unknown`
and counts as good.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from shipper.errors import AccessDenied, SchemaError
from shipper.system.files import Directory, Untrusted, followed, trusted

MOUNTINFO = Path("/proc/self/mountinfo")

# Other machines can mount these file systems too, and share no memory with this machine
# (sqlite.org/wal.html).
_NETWORK = frozenset({
    "9p", "acfs", "afs", "auristorfs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2",
    "glusterfs", "gpfs", "lizardfs", "lustre", "mmfs", "moosefs", "ncpfs", "nfs", "nfs3", "nfs4",
    "ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "sshfs",
})  # fmt: skip
# A virtual machine sees its host's files through these, each with a cache of its own: Docker
# Desktop, OrbStack, Podman, Lima, WSL, VirtualBox, VMware, Parallels (NousResearch/hermes-agent
# 110847 and openclaw/openclaw 120549: damaged within minutes).
_HOSTS = frozenset({
    "drvfs", "fakeowner", "grpcfuse", "hgfs", "osxfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs",
    "fuse.drvfs", "fuse.fakeowner", "fuse.grpcfuse", "fuse.osxfs", "fuse.prl_fsd", "fuse.virtiofs",
    "fuse.vmhgfs-fuse",
})  # fmt: skip
# Of the file systems in user space, only these are certainly a disk of this machine. Other machines
# can mount any other (sshfs, rclone, s3fs, …) too, so shipper refuses it.
_LOCAL_FUSE = frozenset({
    "fuseblk", "fuse.encfs", "fuse.exfat", "fuse.ext2", "fuse.ext4", "fuse.fuse2fs",
    "fuse.gocryptfs", "fuse.ntfs", "fuse.ntfs-3g", "fuse.zfs",
})  # fmt: skip

# The machine's next start, or the container's end, deletes a file there.
_SHORT_LIVED = {
    "tmpfs": "it is memory: all of it is gone when this machine restarts",
    "ramfs": "it is memory: all of it is gone when this machine restarts",
}

_DISK = "put it on a disk of this machine, or use PostgreSQL"
_VOLUME = (
    "put it on the machine's own disk (for containers: a named volume, mounted as a directory into"
    " the application's and shipper's), or use PostgreSQL. An application in a container and a"
    " shipper outside of its virtual machine can't share an SQLite file"
)
_WHICH = (
    "is the path right, is the disk mounted? Only for a NEW outbox: shipper db upgrade --create"
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of proc(5) mountinfo: device, directory, kind of file system, options."""

    id: str
    device: str
    directory: str
    kind: str
    options: tuple[str, ...]


def refuse_unusable_file(path: Path, mountinfo: Path | None = None) -> None:
    """Raise an error unless an SQLite outbox can be opened at `path`.

    Raises SchemaError if there is no file, or if other processes could open it by another name or
    with other memory, and AccessDenied if it can't be reached. `mountinfo` is in the format of
    proc(5).
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except PermissionError:
        raise AccessDenied(f"not allowed to look for {path}") from None
    except OSError as error:
        raise SchemaError(f"{path}: {error.strerror}", _WHICH) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a file"
        raise SchemaError(f"{path} is {kind}", "database.url must name the database file itself")
    if status.st_nlink > 1:
        raise SchemaError(
            second_name(path, status.st_nlink),
            f"keep one name; the others are found by: find / -xdev -samefile {path}",
        )
    _refuse_strangers(path)
    refuse_unusable_place(path, mountinfo)


def second_name(path: Path, names: int) -> str:
    """Return a sentence about the danger of a file with this many names."""
    return (
        f"{path} has {names} names (hard links): a process that opens it by another name writes"
        " another -wal, which damages it"
    )


def _refuse_strangers(path: Path) -> None:
    """Raise AccessDenied if another user has placed a link that leads to another file.

    A user who can write in the directory can replace the file, too. But such a user must not make
    shipper, or root, write into a file that only shipper, or root, is allowed to write.
    """
    try:
        real = trusted(path)
        with Directory(real.parent) as directory:
            for suffix in ("-wal", "-shm", "-journal"):
                with suppress(FileNotFoundError):
                    directory.refuse_another_kind(real.name + suffix)
    except Untrusted as error:
        raise AccessDenied(
            f"{path}: {error.filename} {error.strerror}",
            "find out who made it, and remove it; or let database.url name the file itself",
        ) from None
    except OSError:
        return  # opening the file reports what is wrong


def refuse_unusable_place(path: Path, mountinfo: Path | None = None) -> None:
    """Raise SchemaError if an SQLite outbox at `path` isn't safe; the file needn't exist yet."""
    real = str(followed(path))
    mounts = _mounts(mountinfo)
    if any(mount.directory == real for mount in mounts):
        raise SchemaError(
            f"{path} is mounted by itself (a bind mount of one file): a process that opens"
            " it outside of the mount has another -wal and -shm, which damages it",
            f"mount the directory that it is in, and not the file: -v DIRECTORY:{path.parent}",
        )
    own = _mount_of(real, mounts)
    for mount in mounts:
        layered = mount is not own and any(_is_under(real, layer) for layer in _layers(mount))
        if layered:
            raise SchemaError(
                f"{path} is in a layer of the overlay file system at {mount.directory}: a process"
                " that opens it there has another file",
                "put it in a directory of its own (for containers: a volume), and open it there",
            )
    kind = "unknown" if own is None else own.kind
    if kind in _HOSTS:
        raise _unsafe(path, f"a file system that a virtual machine shares with its host ({kind})",
                      _VOLUME)  # fmt: skip
    if kind in _NETWORK:
        raise _unsafe(path, f"a network file system ({kind})", _DISK)
    if kind.partition(".")[0] == "fuse" and kind not in _LOCAL_FUSE:
        raise _unsafe(path, f"a file system in user space ({kind}), maybe a network's", _DISK)


def missing(path: Path) -> SchemaError:
    """Return the failure for a missing file; shipper makes one only if an operator asks."""
    known = f"there is no directory {path.parent}" if not path.parent.is_dir() else "no such file"
    return SchemaError(f"no outbox: {path} is missing ({known})", _WHICH)


def remark(path: Path, mountinfo: Path | None = None) -> str | None:
    """Return a warning about a place that can be used; None if there is no reason to warn."""
    mounts = _mounts(mountinfo)
    mount = _mount_of(str(followed(path)), mounts)
    if mount is None:
        return None
    if mount.kind == "overlay" and mount.directory == "/":
        return "it is in the container's own layer, and is gone with the container: use a volume"
    return _SHORT_LIVED.get(mount.kind)


def file_system(path: str, mountinfo: Path | None = None) -> str:
    """Return the kind of file system that a real path lies on, or `unknown`."""
    mount = _mount_of(path, _mounts(mountinfo))
    return "unknown" if mount is None else mount.kind


def device(path: str, mountinfo: Path | None = None) -> tuple[int, int] | None:
    """Return the device of a real path, as in the kernel's list of locks; None if unknown.

    stat(2) gives another device if a file system has several volumes, as btrfs has.
    """
    mount = _mount_of(path, _mounts(mountinfo))
    with suppress(ValueError):
        major, minor = ("" if mount is None else mount.device).split(":")
        return int(major), int(minor)
    return None


def _unsafe(path: Path, what: str, hint: str) -> SchemaError:
    return SchemaError(f"{path} lies on {what}, where SQLite's WAL is not safe", hint)


def _mount_of(real: str, mounts: list[Mount]) -> Mount | None:
    """Return the mount that a path is on: by the kernel's number, or else by the names."""
    above = [mount for mount in mounts if _is_under(real, mount.directory)]
    number = _mount_id(real)
    for mount in above:
        if mount.id == number:
            return mount
    # Of two mounts on one directory, the later one hides the earlier one.
    return max(reversed(above), key=lambda mount: len(mount.directory), default=None)


def _mount_id(real: str) -> str | None:
    """Return the kernel's number of the mount; it is right even if a later mount hides this one."""
    for place in (real, os.path.dirname(real)):  # noqa: PTH120 - as the bytes are, not normalised
        with suppress(OSError):
            # O_PATH opens no file: closing a file that was opened would drop SQLite's locks on it.
            descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
            try:
                info = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii", "replace")
            finally:
                os.close(descriptor)
            found = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
            return found[1] if found else None
    return None


def _mounts(mountinfo: Path | None) -> list[Mount]:
    with suppress(OSError):
        return _parsed((mountinfo or MOUNTINFO).read_text("utf-8", "surrogateescape"))
    return []


@lru_cache(maxsize=1)  # each connection asks a dozen times, and mounts rarely change
def _parsed(mountinfo: str) -> list[Mount]:
    found = []
    for line in mountinfo.split("\n"):
        fields, separator, tail = line.partition(" - ")
        before, after = fields.split(" "), tail.split(" ")
        if separator and len(before) > 4:
            options = tuple(after[-1].split(","))
            found.append(Mount(before[0], before[2], _unescaped(before[4]), after[0], options))
    return found


def _layers(mount: Mount) -> Iterator[str]:
    """Yield the directories that an overlay file system is made of."""
    for option in mount.options if mount.kind == "overlay" else ():
        name, _, value = option.partition("=")
        if name in {"upperdir", "lowerdir"}:
            layers = [_unescaped(layer) for layer in value.split(":")]
            yield from (layer for layer in layers if layer.startswith("/") and layer != "/")


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _is_under(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")

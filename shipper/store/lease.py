"""Who may ship this outbox: one process at a time, by a lease with a fencing token.

Every write of the daemon first advances the lease under its token, in the same transaction. A
process that was taken over in the meantime changes nothing: it learns that its lease is lost.

On SQLite the kernel's lock on a file beside the database decides (it ends with the process,
however that ends); it must never be the database file itself, whose POSIX locks are SQLite's. On
Postgres the lease has a deadline by the database's clock; a holder that is known to be dead, on
this very machine, is taken over before that. Where the kernel doesn't tell which machine it is, or
which process (no /proc, gVisor, ProcSubset=pid, a chroot), nobody is known to be dead.
"""

import fcntl
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shipper import __version__
from shipper.errors import AccessDenied, LeaseLost, OutboxHeld, StoreUnavailable

# Stands for what can't be known of this process: no other one's lease can be mistaken for ours.
_NOT_KNOWN = f"?{os.urandom(16).hex()}"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, so that another on the same machine can tell whether it still lives."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    version: str = field(default=__version__, compare=False)

    @classmethod
    def here(cls) -> "Owner":
        """Return this very process."""
        return cls(
            host=os.uname().nodename,
            boot=_boot() or _NOT_KNOWN,
            namespace=_namespace() or _NOT_KNOWN,
            pid=os.getpid(),
            started=own.started if (own := _status("self")) else "",
        )

    @classmethod
    def read(cls, text: str | None) -> "Owner | None":
        """Read what `write` wrote; None for anything else."""
        try:
            fields: Mapping[str, Any] = json.loads(text or "")
            return cls(**{"version": "", **fields})
        except (ValueError, TypeError):
            return None

    def write(self) -> str:
        """Return the owner as the lease holds it."""
        return json.dumps(asdict(self))

    def is_local(self) -> bool:
        """Return whether its number certainly means here what it meant to itself."""
        here = Owner.here()
        # Host names and machine ids are copied, so they tell nothing.
        return (self.boot, self.namespace) == (here.boot, here.namespace)

    def is_dead(self) -> bool:
        """Return whether this process has certainly ended; False where that can't be known."""
        if not self.is_local():
            return False
        if not _is_there(self.pid):
            return True
        # Another user's may be hidden (ProtectProc=, hidepid=): it lives, as far as we can see.
        status = _status(str(self.pid))
        if status is None:
            return False
        return status.is_over or (bool(self.started) and status.started != self.started)

    def __str__(self) -> str:
        """Return the owner for a person."""
        return f"process {self.pid} on {self.host}"


class _Status(NamedTuple):
    """What the kernel tells of a process; `is_over` for one that only waits to be reaped."""

    started: str
    is_over: bool


def _boot() -> str:
    """Return what tells this run of this kernel from any other, '' where nothing does."""
    with suppress(OSError, ValueError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def _namespace() -> str:
    """Return where the numbers of processes mean the same, '' where that isn't told."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _is_there(pid: int) -> bool:
    """Return whether there is such a process, whoever's it is; True where that can't be asked."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _status(pid: str) -> _Status | None:
    """Return the state and start time of a process (proc(5), fields 3, 22), None if not shown."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = line.rpartition(")")[2].split()
    return _Status(fields[19], fields[0] in {"Z", "X"}) if len(fields) > 19 else None


class FileLock:
    """The lock beside an SQLite file, held by one daemon for as long as its process lives."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.path = database.with_name(database.name + ".shipper.lock")
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises OutboxHeld when another process has it."""
        fd = self._opened()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise OutboxHeld(
                f"another shipper holds this outbox ({self.path})",
                "stop it first; `shipper status` shows what it does",
            ) from None
        before, self._fd = self._fd, fd
        if before is not None:
            os.close(before)

    def _opened(self) -> int:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        except PermissionError as error:
            raise self._denied() from error
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error
        self._share(fd)
        return fd

    def _denied(self) -> AccessDenied:
        """Return what is wrong: the file that is there, or the directory that it is to be in."""
        try:
            status = self.path.stat()
        except OSError:
            return AccessDenied(
                f"may not create {self.path.name} beside the database",
                f"the directory {self.path.parent} must be writable for the user that runs shipper",
            )
        return AccessDenied(
            f"not allowed to open {self.path}, which is there with mode"
            f" {stat.S_IMODE(status.st_mode):o}",
            f"chmod --reference={self._database} {self.path};"
            f" chgrp --reference={self._database} {self.path}",
        )

    def is_lost(self) -> bool:
        """Return whether somebody has removed or replaced the file that we have locked."""
        if self._fd is None:
            return False
        ours = os.fstat(self._fd)
        try:
            there = self.path.stat()
        except OSError:
            return True
        return (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)

    def insist(self) -> None:
        """Take the lock again where its file was removed; another daemon would find none.

        Raises LeaseLost when one has, and StoreUnavailable and AccessDenied as `acquire` does.
        """
        if self.is_lost():
            try:
                self.acquire()
            except OutboxHeld as error:
                raise LeaseLost(
                    f"{self.path.name} was removed, and another shipper has taken the outbox",
                    "never remove files beside an open database",
                ) from error

    def _share(self, fd: int) -> None:
        """Give the file the database's mode, owner and group, as SQLite does with its -wal.

        Else what root does once (`drain`, say) would keep the service's own user out.
        """
        with suppress(PermissionError, FileNotFoundError):  # somebody else's is as they want it
            database = self._database.stat()
            os.fchmod(fd, stat.S_IMODE(database.st_mode) & 0o660)
            if os.geteuid() == 0:
                os.fchown(fd, database.st_uid, database.st_gid)

    def is_held(self) -> bool:
        """Return whether some process holds the lock now."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
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
        """Let the lock go. The file stays: removing it would let two processes lock two files."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

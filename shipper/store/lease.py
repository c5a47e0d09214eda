"""Who may ship this outbox: one process at a time, by a lease with a fencing token.

Every write of the daemon first advances the lease under its token, in the same transaction. A
process that was taken over in the meantime changes nothing: it learns that its lease is lost.

On SQLite the kernel's lock on a file beside the database decides (it ends with the process,
however that ends); it must never be the database file itself, whose POSIX locks are SQLite's. On
Postgres the lease has a deadline by the database's clock; a holder that is known to be dead, on
this very machine, is taken over before that.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shipper.errors import AccessDenied, OutboxHeld, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, so that another on the same machine can tell whether it still lives."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> "Owner":
        """Return this very process."""
        return cls(
            host=os.uname().nodename,
            boot=Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip(),
            namespace=str(Path("/proc/self/ns/pid").readlink()),
            pid=os.getpid(),
            started=_started("self") or "",
        )

    @classmethod
    def read(cls, text: str | None) -> "Owner | None":
        """Read what `write` wrote; None for anything else."""
        try:
            fields: Mapping[str, Any] = json.loads(text or "")
            return cls(**fields)
        except (ValueError, TypeError):
            return None

    def write(self) -> str:
        """Return the owner as the lease holds it."""
        return json.dumps(asdict(self))

    def is_dead(self) -> bool:
        """Return whether this process has certainly ended; False where that can't be known."""
        here = Owner.here()
        if (self.boot, self.namespace) != (here.boot, here.namespace):
            return False  # host names and machine ids are copied, so only its deadline tells
        return _started(str(self.pid)) != self.started

    def __str__(self) -> str:
        """Return the owner for a person."""
        return f"process {self.pid} on {self.host}"


def _started(pid: str) -> str | None:
    """Return the kernel's start time of a process (proc(5), field 22), None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


class FileLock:
    """The lock beside an SQLite file, held by one daemon for as long as its process lives."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".shipper.lock")
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises OutboxHeld when another process has it."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        except PermissionError as error:
            raise AccessDenied(
                f"may not create {self.path.name} beside the database",
                "the directory must be writable for the user that runs shipper",
            ) from error
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise OutboxHeld(
                f"another shipper holds this outbox ({self.path})",
                "stop it first; `shipper status` shows what it does",
            ) from None
        self._fd = fd

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

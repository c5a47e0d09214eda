"""Which process ships this outbox: one at a time, by a lease with a fencing token.

Every write of the daemon first writes a turn under its token, in the same transaction. A process
that was taken over in the meantime changes nothing: it learns that its lease is lost.

On SQLite the kernel's lock decides (see `file_lock`). On PostgreSQL the lease has a deadline by the
database's clock; where the holder is known to be dead, on this very machine, another process takes
over before that. Where the kernel doesn't show which machine it is, or which process (no /proc,
gVisor, ProcSubset=pid, a chroot), no process is known to be dead.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shipper import __version__

# Stands for what this process can't know of itself: no lease of another process equals it.
_NOT_KNOWN = f"?{os.urandom(16).hex()}"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, described so that another on the same machine can tell whether it still lives."""

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
        """Return whether its process number certainly means the same process here."""
        here = Owner.here()
        # Host names and machine ids are copied with images, so they prove nothing.
        return (self.boot, self.namespace) == (here.boot, here.namespace)

    def is_dead(self) -> bool:
        """Return whether this process has certainly ended; False where that isn't known."""
        if not self.is_local():
            return False
        if not _is_there(self.pid):
            return True
        # Another user's process can be hidden (ProtectProc=, hidepid=): it counts as alive.
        status = _status(str(self.pid))
        if status is None:
            return False
        return status.is_over or (bool(self.started) and status.started != self.started)

    def __str__(self) -> str:
        """Return the owner for a person."""
        return f"process {self.pid} on {self.host}"


class _Status(NamedTuple):
    """What the kernel shows of a process; `is_over` where its parent only has to reap it."""

    started: str
    is_over: bool


def _boot() -> str:
    """Return the id of this boot of this machine, '' where the kernel doesn't show it."""
    with suppress(OSError, ValueError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def _namespace() -> str:
    """Return the namespace of process numbers, '' where the kernel doesn't show it."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _is_there(pid: int) -> bool:
    """Return whether there is such a process, of any user; True where that isn't known."""
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

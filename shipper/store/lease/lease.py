"""Who may ship this outbox: one process at a time, by a lease with a fencing token.

Every write of the daemon first advances the lease under its token, in the same transaction. A
process that was taken over in the meantime changes nothing: it learns that its lease is lost.

On SQLite the kernel's lock decides (see `file_lock`). On Postgres the lease has a deadline by the
database's clock; a holder that is known to be dead, on this very machine, is taken over before
that. Where the kernel doesn't tell which machine it is, or which process (no /proc, gVisor,
ProcSubset=pid, a chroot), nobody is known to be dead.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shipper import __version__

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

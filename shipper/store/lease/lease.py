"""Which process a daemon is, so that others can find out if it has ended.

Whatever a daemon claims or records goes with a turn, under its token, in the same transaction. If
another process has ended the token in the meantime, that changes nothing and raises LeaseLost. Only
its chores write without a token: deliveries don't depend on them.

On SQLite the kernel's lock decides (see `file_lock`). On PostgreSQL a lease has a deadline by the
database's clock. If the holder ran on this machine and is certainly dead, another process takes
over before the deadline. If the kernel doesn't show which machine this is, or which processes run
(no /proc, gVisor, ProcSubset=pid, a chroot), no process counts as dead.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shipper import __version__

SILENT = 0.8
"""A daemon that hasn't prolonged its lease for this share of its time should have: it does that
after a third."""

# Stands for what this process can't find out about itself; no other process has the same value.
_NOT_KNOWN = f"?{os.urandom(16).hex()}"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, described so that another on the same machine can find out if it runs."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    version: str = field(default=__version__, compare=False)
    stops: bool = field(default=False, compare=False)
    """Whether it stops: it sends nothing new, and gives its shards back."""
    name: str = field(default="", compare=False)
    """What people call this daemon, on SQLite; on PostgreSQL its row says it."""

    @classmethod
    def here(cls) -> "Owner":
        """Return the owner that stands for this process."""
        return cls(
            host=os.uname().nodename,
            boot=_boot() or _NOT_KNOWN,
            namespace=_namespace() or _NOT_KNOWN,
            pid=os.getpid(),
            started=own.started if (own := _status("self")) else "",
        )

    @classmethod
    def read(cls, text: str | None) -> "Owner | None":
        """Read a text of `write`; return None for any other text."""
        try:
            found: Mapping[str, Any] = json.loads(text or "")
            known = {name: value for name, value in found.items() if name in cls.__slots__}
            return cls(**{"version": "", **known})
        except (ValueError, TypeError, AttributeError):
            return None

    def write(self) -> str:
        """Return the owner as a text for the lease."""
        return json.dumps(asdict(self))

    def is_local(self) -> bool:
        """Return whether its process number certainly names the same process here."""
        here = Owner.here()
        # Host names and machine ids are copied with images, so they prove nothing.
        return (self.boot, self.namespace) == (here.boot, here.namespace)

    def is_dead(self) -> bool:
        """Return whether this process has certainly ended; False if that isn't known."""
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


class Newcomer(NamedTuple):
    """A process that takes an outbox: for how long its lease lasts (seconds), and what others see.

    `alone` says that it doesn't share the outbox.
    """

    owner: Owner
    ttl: float
    name: str = ""
    settings: str = ""
    alone: bool = True


class _Status(NamedTuple):
    """A process as the kernel shows it; `is_over` if only its parent has to reap it."""

    started: str
    is_over: bool


def _boot() -> str:
    """Return the id of this boot of this machine, '' if the kernel doesn't show it."""
    with suppress(OSError, ValueError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def _namespace() -> str:
    """Return the namespace of process numbers, '' if the kernel doesn't show it."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _is_there(pid: int) -> bool:
    """Return whether there is such a process, of any user; True if that isn't known."""
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

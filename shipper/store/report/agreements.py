"""What the daemons of an outbox have in their configurations, as each wrote it. Reads only.

It decides which rows count: none of a daemon that has certainly ended. It must never judge what a
row says, because an outbox can have daemons of several versions.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from shipper.store.db.dialect import dialect_of, pick
from shipper.store.db.snapshot import snapshot
from shipper.store.lease.lease import Owner

# As many daemons as can have a shard, and as many that wait.
_MOST = 128


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """A daemon of the outbox; `settings` is what it wrote of its own, '' if it wrote nothing."""

    token: int
    name: str
    process: str
    is_here: bool
    """Whether it is this process."""
    settings: str

    def __str__(self) -> str:
        """Return the daemon for a person: two can have one name."""
        return f"{self.name} ({self.process})"


def all_daemons(engine: Engine) -> list[DaemonRow]:
    """Return the daemons, the oldest first; none on SQLite, where a daemon is alone.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    if dialect.is_file:
        return []
    here, found = Owner.here(), []
    with snapshot(engine) as tx:
        for row in tx.execute(text(pick(dialect, postgresql=_ROWS)), {"most": _MOST}):
            owner = Owner.read(row.owner)
            if owner is not None and owner.is_dead():
                continue
            process = str(owner or "another process")
            found.append(DaemonRow(row.token, row.name, process, owner == here, row.settings or ""))
    return found


def other_daemons(engine: Engine) -> list[DaemonRow]:
    """Return the daemons that are other processes than this one; raises as `all_daemons`."""
    return [daemon for daemon in all_daemons(engine) if not daemon.is_here]


_ROWS = "SELECT token, name, owner, settings FROM shipper_daemon ORDER BY token LIMIT :most"

"""What the daemons of an outbox have in their configurations, as each wrote it. Reads only.

It must never judge what a row says, because an outbox can have daemons of several versions. Which
rows count, `daemon_rows` decides.
"""

from dataclasses import dataclass

from sqlalchemy import Engine

from shipper.store.db.dialect import dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.lease.lease import Owner
from shipper.store.report.daemon_rows import joined


@dataclass(frozen=True, slots=True)
class DescribedDaemon:
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


def all_daemons(engine: Engine) -> list[DescribedDaemon]:
    """Return the daemons, the oldest first; none on SQLite, where a daemon is alone.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    if dialect_of(engine).is_file:
        return []
    here = Owner.here()
    with snapshot(engine) as tx:
        return [
            DescribedDaemon(each.token, each.name, each.process, each.owner == here, each.settings)
            for each in joined(tx)
        ]


def other_daemons(engine: Engine) -> list[DescribedDaemon]:
    """Return the daemons that are other processes than this one; raises as `all_daemons`."""
    return [daemon for daemon in all_daemons(engine) if not daemon.is_here]

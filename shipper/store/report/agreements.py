"""What the daemons of an outbox have in their configurations, as each wrote it. Reads only.

It must never judge what a row says, because an outbox can have daemons of several versions. Which
rows count, `daemon_rows` decides.
"""

from sqlalchemy import Engine

from shipper.store.db.dialect import dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.lease.lease import Owner
from shipper.store.report.daemon_rows import JoinedDaemon, joined


def all_daemons(engine: Engine) -> list[JoinedDaemon]:
    """Return the daemons, the oldest first; none on SQLite, where a daemon is alone.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    if dialect_of(engine).is_file:
        return []
    with snapshot(engine) as tx:
        return joined(tx)


def other_daemons(engine: Engine) -> list[JoinedDaemon]:
    """Return the daemons that are other processes than this one; raises as `all_daemons`."""
    here = Owner.here()
    return [daemon for daemon in all_daemons(engine) if daemon.owner != here]

"""Which daemons ship this outbox, by the lease. For `status --json`. Reads only.

It decides whether the holder of the lease counts as running: on PostgreSQL by the lease's time, on
SQLite by the lock beside the file.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.lease.claim_rows import claimed_ids
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.lease import Owner
from shipper.store.report.silence import noted, silent_seconds
from shipper.store.schema.damage import lease_row


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """A daemon that ships. `since` is in seconds since 1970, None if that wasn't recorded.

    `last_seen_seconds` says how long ago it wrote, by the database's clock; on SQLite, how long ago
    it noted that the database answers, None before the first such note. `in_flight` counts the
    pending events that it has claimed: in flight, or next.
    """

    host: str
    pid: int | None
    version: str
    since: float | None
    last_seen_seconds: float | None
    in_flight: int = 0


def running_daemons(engine: Engine) -> list[RunningDaemon]:
    """Return the daemons that ship, at most one so far; raises StoreUnavailable, SchemaError."""
    dialect = dialect_of(engine)
    is_server = not dialect.is_file
    columns = (_OF_SERVER if is_server else _OF_FILE).format(
        since=dialect.moment.format("acquired_at"), fence=dialect.fence
    )
    with snapshot(engine) as tx:
        found = text(f"SELECT token, {columns} FROM shipper_lease WHERE name = 'outbox'")
        row = lease_row(tx.execute(found).all())
        pending = tx.execute(_pending(dialect), {"ids": dialect.bind_ids(claimed_ids(tx))})
        in_flight = int(pending.scalar_one())
    owner = Owner.read(row.owner)
    is_alive = row.alive if is_server else FileLock(Path(row.file)).is_held()
    if not is_alive or (is_server and (owner is None or owner.is_dead())):
        return []
    return [
        RunningDaemon(
            host=owner.host if owner else "",
            pid=owner.pid if owner else None,
            version=owner.version if owner else "",
            since=dialect.wall(row.since),
            last_seen_seconds=row.seen if is_server else silent_seconds(noted(Path(row.file))),
            in_flight=in_flight,
        )
    ]


def _pending(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT count(*) FROM shipper_outbox WHERE id IN {dialect.ids} AND status = 'pending'"
    )


_OF_SERVER = "owner, {since} AS since, {fence.is_alive} AS alive, {fence.unseen} AS seen"
_OF_FILE = (
    "owner, {since} AS since, (SELECT file FROM pragma_database_list WHERE name = 'main') AS file"
)

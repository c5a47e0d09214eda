"""Who ships this outbox: what the lease says of its holder. Reads only."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

from shipper.store.dialect import IS_ALIVE, dialect_of
from shipper.store.lease import FileLock, Owner
from shipper.store.snapshot import snapshot


@dataclass(frozen=True, slots=True)
class Shipper:
    """A daemon that ships. `since` is in seconds since 1970, None where it left no trace of it.

    `last_seen_seconds` is how long ago it wrote, by the database's clock; 0 on SQLite, where the
    kernel says that it lives now.
    """

    host: str
    pid: int | None
    version: str
    since: float | None
    last_seen_seconds: float | None


def shippers(engine: Engine) -> list[Shipper]:
    """Return the daemons that ship, at most one so far; raises StoreUnavailable, SchemaError."""
    dialect = dialect_of(engine.dialect.name)
    is_server = dialect.name == "postgresql"
    columns = (_OF_SERVER if is_server else _OF_FILE).format(dialect.moment.format("acquired_at"))
    with snapshot(engine) as tx:
        row = tx.execute(text(f"SELECT {columns} FROM shipper_lease WHERE name = 'outbox'")).one()
    owner = Owner.read(row.owner)
    is_alive = row.alive if is_server else FileLock(Path(row.file)).is_held()
    if not is_alive or (is_server and (owner is None or owner.is_dead())):
        return []
    return [
        Shipper(
            host=owner.host if owner else "",
            pid=owner.pid if owner else None,
            version=owner.version if owner else "",
            since=dialect.wall(row.since),
            last_seen_seconds=row.seen if is_server else 0.0,
        )
    ]


_OF_SERVER = (
    f"owner, {{0}} AS since, {IS_ALIVE} AS alive,"
    " CAST(extract(epoch FROM clock_timestamp() - expires_at) AS double precision) + ttl AS seen"
)
_OF_FILE = (
    "owner, {0} AS since, (SELECT file FROM pragma_database_list WHERE name = 'main') AS file"
)

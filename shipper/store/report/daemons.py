"""Which daemons ship this outbox. Reads only.

It decides which daemons count as running: on PostgreSQL by the rows of those that have joined, on
SQLite, where there is at most one, by the lock beside the file. A daemon that is missing or gone is
listed, but doesn't ship; see `daemon_rows`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, Engine, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.db.snapshot import snapshot
from shipper.store.lease.claim_rows import claims
from shipper.store.lease.claims import load_ids
from shipper.store.lease.file_lock import FileLock
from shipper.store.lease.lease import Owner
from shipper.store.report.daemon_rows import JoinedDaemon, called, gone, joined, listed
from shipper.store.report.silence import noted, silent_seconds
from shipper.store.schema.damage import lease_row
from shipper.store.upkeep.sqlite_file import FILE
from shipper.wording.quantities import lasting

# Claims of a file belong to its only daemon.
_ONLY = 0


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """A daemon that ships. `since` is in seconds since 1970, None if that wasn't recorded.

    `last_seen_seconds` says how long ago it wrote, by the database's clock; on SQLite, how long ago
    it noted that the database answers, None before the first such note. `in_flight` counts the
    pending events that it has claimed: in flight, or next.
    """

    name: str
    host: str
    pid: int | None
    version: str
    since: float | None
    last_seen_seconds: float | None
    shards: int = 1
    in_flight: int = 0
    is_missing: bool = False
    is_gone: bool = False
    """Whether it is missing and the others have its shards."""
    lease_seconds: float = 0.0
    settings: str = ""
    token: int = _ONLY

    @property
    def process(self) -> str:
        """Return its process and host for a person."""
        return "a process" if self.pid is None else f"process {self.pid} on {self.host}"

    def __str__(self) -> str:
        """Return the daemon for a person."""
        return called(self.name, self.process, self.host)

    @property
    def absence(self) -> str:
        """Return the sentence about a daemon that is missing."""
        seen = lasting(max(0.0, self.last_seen_seconds or 0.0))
        if self.is_gone:
            ended = f"the daemon {self} ended without a clean stop, and isn't back"
            return f"{ended}; it was last seen {seen} ago, and the others have its shards"
        takes_over = f"the others take over its shards within {lasting(self.lease_seconds)}"
        return f"the daemon {self} hasn't prolonged its lease for {seen}; {takes_over}"


def running_daemons(engine: Engine) -> list[RunningDaemon]:
    """Return the daemons that ship or are missing, with what each has in flight.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        found = _found(tx, dialect)
        claimed = _claimed(tx) if found else {}
        statement = _pending(dialect)
        return [
            replace(daemon, in_flight=_in_flight(tx, dialect, statement, claimed[daemon.token]))
            if daemon.token in claimed
            else daemon
            for daemon in found
        ]


def gone_daemons(engine: Engine) -> list[JoinedDaemon]:
    """Return the daemons that others have ended and that aren't back; none on SQLite."""
    if dialect_of(engine).is_file:
        return []
    with snapshot(engine) as tx:
        return gone(tx)


def shipping(engine: Engine) -> list[RunningDaemon]:
    """Return the daemons that ship, without what is in flight: it is quick."""
    with snapshot(engine) as tx:
        return shippers(_found(tx, dialect_of(engine)))


def current_daemon(engine: Engine) -> str | None:
    """Return who ships this outbox now, for a person; None if no daemon does."""
    return named(shipping(engine))


def shippers(daemons: Sequence[RunningDaemon]) -> list[RunningDaemon]:
    """Return those that aren't missing."""
    return [daemon for daemon in daemons if not daemon.is_missing]


def named(daemons: Sequence[RunningDaemon]) -> str | None:
    """Return who they are: `process 7 on a`, `3 daemons on a, b, c`; None for none."""
    if len(daemons) < 2:
        return str(daemons[0]) if daemons else None
    return f"{len(daemons)} daemons on {listed([daemon.name for daemon in daemons])}"


def ships(daemons: Sequence[RunningDaemon]) -> str:
    """Return the sentence that they ship, or that no daemon is running."""
    who = named(daemons)
    return (
        "no daemon is running"
        if who is None
        else f"{who} {'ships' if _is_one(daemons) else 'ship'}"
    )


def _is_one(daemons: Sequence[RunningDaemon]) -> bool:
    return len(daemons) == 1


def _found(tx: Connection, dialect: Dialect) -> list[RunningDaemon]:
    return [*_of_file(tx, dialect)] if dialect.is_file else [*_of_server(tx)]


def _of_server(tx: Connection) -> Iterator[RunningDaemon]:
    for one in (*joined(tx), *gone(tx)):
        owner = one.owner
        yield RunningDaemon(
            name=one.name,
            host=owner.host if owner else "",
            pid=owner.pid if owner else None,
            version=owner.version if owner else "",
            since=one.since,
            last_seen_seconds=one.unseen,
            shards=one.shards,
            is_missing=one.is_missing,
            is_gone=one.is_gone,
            lease_seconds=one.ttl,
            settings=one.settings,
            token=one.token,
        )


def _of_file(tx: Connection, dialect: Dialect) -> Iterator[RunningDaemon]:
    row = lease_row(tx.execute(_lease(dialect)).all())
    path = Path(tx.execute(FILE).scalar_one())
    if not FileLock(path).is_held():
        return
    owner = Owner.read(row.owner)
    yield RunningDaemon(
        name=(owner.name or owner.host) if owner else "",
        host=owner.host if owner else "",
        pid=owner.pid if owner else None,
        version=owner.version if owner else "",
        since=dialect.wall(row.since),
        last_seen_seconds=silent_seconds(noted(path)),
    )


def _claimed(tx: Connection) -> dict[int, set[int]]:
    """Return the ids that claims name, by the token of their daemon."""
    found: dict[int, set[int]] = {}
    for claim in claims(tx):
        found.setdefault(claim.token, set()).update(load_ids(claim.ids))
    return found


def _in_flight(tx: Connection, dialect: Dialect, statement: TextClause, claimed: set[int]) -> int:
    values = {"ids": dialect.bind_ids(sorted(claimed))}
    return int(tx.execute(statement, values).scalar_one())


# -- statements -----------------------------------------------------------------------------------


def _pending(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT count(*) FROM shipper_outbox WHERE id IN {dialect.ids} AND status = 'pending'"
    )


def _lease(dialect: Dialect) -> TextClause:
    since = dialect.moment.format("acquired_at")
    return text(f"SELECT token, owner, {since} AS since FROM shipper_lease WHERE name = 'outbox'")

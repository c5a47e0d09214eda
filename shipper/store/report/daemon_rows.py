"""The daemons that have joined a PostgreSQL outbox, as their rows show them.

It decides which of them count: one whose process on this machine has certainly ended doesn't, and
one whose lease is over by the server's clock is missing until the others take over its shards. From
then on it is gone: it is still missing, until a daemon of its name is back or it is long ago.
Reads only. It must never read the history, and never decide whether a daemon is ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of
from shipper.store.lease.lease import SILENT, Owner
from shipper.store.schema.damage import lease_row
from shipper.wording.quantities import UNITS, lasting

REMEMBERED: Final = 7 * UNITS["d"]
"""An operator who has removed a machine for good is told of it for so long (seconds)."""

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class JoinedDaemon:
    """A daemon with a row. `unseen` says for how many seconds it hasn't prolonged its lease.

    `owner` is None if its row has a text that isn't one. `since` is in seconds since 1970.
    """

    token: int
    name: str
    owner: Owner | None
    ttl: float
    since: float | None
    unseen: float
    is_missing: bool
    """Whether its lease is over by the server's clock; the others then take over its shards."""
    shards: int
    settings: str = ""
    """What it compares with the other daemons' settings; see `config.agreement`."""
    is_gone: bool = False
    """Whether others have ended it, and none of its name is back."""

    @property
    def is_silent(self) -> bool:
        """Return whether it should have prolonged its lease by now."""
        return self.unseen >= SILENT * self.ttl

    @property
    def process(self) -> str:
        """Return its process and host for a person."""
        return str(self.owner or "a process")

    def __str__(self) -> str:
        """Return the daemon for a person; no two daemons have the same text."""
        return called(self.name, self.process, None if self.owner is None else self.owner.host)

    @property
    def predicate(self) -> str:
        """Return the sentence about a missing daemon, without its subject."""
        return f"hasn't prolonged its lease for {lasting(max(0.0, self.unseen))}"


def called(name: str, process: str, host: str | None) -> str:
    """Return a daemon for a person: its process, and its name unless that is its host's."""
    return process if not name or name == host else f"{name} ({process})"


def listed(names: Sequence[str]) -> str:
    """Return names as a text, each once, of many only the first: `a, b, c`."""
    each = list(dict.fromkeys(names))
    more = len(each) - _NAMED
    return ", ".join(each[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def joined(tx: Connection) -> list[JoinedDaemon]:
    """Return the daemons that have joined and aren't certainly dead, the oldest first.

    Raises SchemaError if a tool has deleted the row of the lease.
    """
    dialect = dialect_of(tx)
    rows = tx.execute(_daemons(dialect)).all()
    lease_row(rows)
    found = [
        _read(dialect, row, row.shards, row.settings or "", is_missing=not row.alive)
        for row in rows
        if row.token is not None
    ]
    return [daemon for daemon in found if daemon.owner is None or not daemon.owner.is_dead()]


def gone(tx: Connection) -> list[JoinedDaemon]:
    """Return the daemons that others have ended and that aren't back, the oldest first."""
    dialect = dialect_of(tx)
    return [
        _read(dialect, row, is_missing=True, is_gone=True)
        for row in tx.execute(_gone(dialect))
        if row.unseen < REMEMBERED
    ]


def _read(
    dialect: Dialect,
    row: Row[Any],
    shards: int = 0,
    settings: str = "",
    *,
    is_missing: bool,
    is_gone: bool = False,
) -> JoinedDaemon:
    owner, since = Owner.read(row.owner), dialect.wall(row.since)
    return JoinedDaemon(
        row.token,
        row.name,
        owner,
        row.ttl,
        since,
        row.unseen,
        is_missing,
        shards,
        settings,
        is_gone,
    )


def free_shards(tx: Connection) -> int:
    """Return how many shards no daemon has: their events wait."""
    return int(tx.execute(_FREE).scalar_one())


def _daemons(dialect: Dialect) -> TextClause:
    return text(
        "SELECT lease, token, name, owner, ttl, since, settings, alive, unseen,"
        " (SELECT count(*) FROM shipper_shard AS s WHERE s.token = d.token) AS shards"
        " FROM (SELECT token AS lease FROM shipper_lease WHERE name = 'outbox') AS l"
        f" LEFT JOIN (SELECT token, name, owner, ttl, {dialect.moment.format('since')} AS since,"
        f" settings, {dialect.fence.is_alive} AS alive, {dialect.fence.unseen} AS unseen"
        " FROM shipper_daemon) AS d ON true ORDER BY token"
    )


def _gone(dialect: Dialect) -> TextClause:
    since = dialect.moment.format("since")
    return text(
        f"SELECT token, name, owner, ttl, {since} AS since, {dialect.fence.unseen} AS unseen"
        " FROM shipper_gone ORDER BY token"
    )


_FREE: Final = text(
    "SELECT count(*) FROM shipper_shard AS s"
    " WHERE NOT EXISTS (SELECT 1 FROM shipper_daemon AS d WHERE d.token = s.token)"
)

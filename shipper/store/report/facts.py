"""What `doctor` asks a database: how it is set up, how fast the outbox grows, what waits longest.

It decides nothing: `shipper.doctor` judges what it finds. Reads only, and by indexes: it must never
read the whole history or everything that is pending.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Timer
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, text

from shipper.store.db.dialect import Dialect, dialect_of, pick
from shipper.store.db.postgres.catalog import OURS
from shipper.store.db.snapshot import asked, shown, snapshot, written
from shipper.store.db.transactions import glancing
from shipper.store.lease.lease import Owner
from shipper.store.report.daemon_rows import joined
from shipper.store.report.first_pending import first_pending

_DAY = 86400.0
# The average size of this many events is taken for all events.
_SAMPLE = 200
# Rows are counted in this many ranges of ids, and in each range only up to `_COUNTED`.
_STRETCHES = 32
_COUNTED = 1024
# A pooler with a free server process gives it at once.
_SERVED_WITHIN = 3
# Bytes that a row takes beside its payload: its other columns, its entries in the indexes.
_ROW_BYTES = 400


@dataclass(frozen=True, slots=True)
class Growth:
    """How much was written within the last day; `bytes_each` is a whole row's, with indexes."""

    events: int
    bytes_each: int

    @property
    def bytes_a_day(self) -> int:
        """Return how many bytes such a day adds, if nothing is deleted."""
        return self.events * self.bytes_each


@dataclass(frozen=True, slots=True)
class Oldest:
    """The pending event that has waited longest: for `seconds` since it was written."""

    id: int
    destination: str
    ordering_key: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """How a PostgreSQL server is set up."""

    version: str
    standby: bool
    durable: bool
    """Whether a commit is on the disk when the server confirms it (fsync)."""
    pooled: bool
    """Whether a connection pooler is in front of it."""
    shares: bool | None
    """Whether the pooler gives shipper's server process to other clients between transactions; None
    if that couldn't be found out."""
    bytes: int
    """How many bytes all tables of the outbox take."""
    late_standbys: int = 0
    """How many standbys follow it that a commit doesn't wait for."""


def reach(engine: Engine) -> None:
    """Ask the database anything; raises StoreUnavailable or AccessDenied if it can't be reached."""
    with glancing(engine) as tx:
        ask = pick(dialect_of(engine), sqlite="PRAGMA schema_version", postgresql="SELECT 1")
        tx.exec_driver_sql(ask).scalar_one()


def journal_mode(engine: Engine) -> str:
    """Return the journal mode of an SQLite file."""
    with glancing(engine) as tx:
        mode: str = tx.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    return mode


def shipper_pid(engine: Engine) -> int | None:
    """Return the process of the daemon that runs on this machine; of several, the oldest."""
    with snapshot(engine) as tx:
        if dialect_of(engine).is_file:
            owners = [Owner.read(tx.execute(_OWNER).scalar())]
        else:
            owners = [daemon.owner for daemon in joined(tx)]
    here = (each for each in owners if each is not None and each.is_local() and not each.is_dead())
    return next((owner.pid for owner in here), None)


def growth(engine: Engine, now: float) -> Growth:
    """Return how much was written within the day before `now` (seconds since 1970)."""
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        first, last = tx.execute(_ENDS).one()
        if last is None:
            return Growth(0, 0)
        since = _first_since(tx, dialect, (first - 1, last), now - _DAY)
        events = _rows_between(tx, since, last)
        if since <= first:  # older events were deleted, and maybe some of that day's
            events += _deleted_since(tx, dialect, now - _DAY)
        [size] = tx.execute(_size(dialect)).one()
    return Growth(events, int(size or 0) + _ROW_BYTES)


def _rows_between(tx: Connection, first: int, last: int) -> int:
    """Return how many rows have an id from `first` to `last`; not every id became a row.

    Few rows are counted exactly. Otherwise the ids are cut into ranges of the same width: each is
    counted up to `_COUNTED` rows, and its rest is assumed to be as dense.
    """
    width = max(1, -(-(last + 1 - first) // _STRETCHES))
    found = 0.0
    for low in range(first, last + 1, width):
        high = min(low + width, last + 1)
        values = {"low": low, "high": high, "limit": _COUNTED}
        rows, highest = tx.execute(_STRETCH, values).one()
        is_whole = rows < _COUNTED
        found += rows if is_whole else rows * (high - low) / (highest + 1 - low)
    return round(found)


def _deleted_since(tx: Connection, dialect: Dialect, moment: float) -> int:
    """Return how many events that were delivered since a moment have been deleted."""
    row = tx.execute(_delivered_since(dialect), {"moment": dialect.bind_time(moment)}).one()
    return max(0, int(row.delivered) - int(row.there))


def _first_since(tx: Connection, dialect: Dialect, among: tuple[int, int], moment: float) -> int:
    """Return the first id within `among` that was written since a moment, else the id after them.

    `among` are the id before the first, and the last. There is no index of the time of writing, but
    ids and times grow together: so the ids are halved until one is left.
    """
    low, high = among
    statement = text(
        f"SELECT id, {dialect.moment.format('created_at')} AS written FROM shipper_outbox"
        " WHERE id > :middle ORDER BY id LIMIT 1"
    )
    while low < high:
        middle = (low + high) // 2
        row = tx.execute(statement, {"middle": middle}).one()
        if (dialect.wall(row.written) or 0.0) < moment:
            low = row.id
        else:
            high = middle
    first = tx.execute(statement, {"middle": low}).first()
    return low + 1 if first is None else int(first.id)


def oldest_pending(engine: Engine, names: Iterable[str], now: float) -> Oldest | None:
    """Return the pending event of these destinations with the smallest id, if there is one."""
    dialect = dialect_of(engine)
    key, place = written(dialect, "ordering_key"), written(dialect, "destination")
    first = first_pending(
        dialect,
        f"id, {place} AS destination, {key} AS ordering_key,"
        f" {dialect.moment.format('created_at')} AS written",
    )
    with snapshot(engine) as tx:
        firsts = [tx.execute(text(first), {"name": asked(dialect, name)}).first() for name in names]
    found = [row for row in firsts if row is not None]
    if not found:
        return None
    row = min(found, key=lambda row: row.id)
    key_shown = None if row.ordering_key is None else shown(row.ordering_key)
    age = max(0.0, now - (dialect.wall(row.written) or 0.0))
    return Oldest(row.id, shown(row.destination), key_shown, age)


# -- PostgreSQL ---------------------------------------------------------------------------------


def server(engine: Engine) -> ServerFacts:
    """Return how a PostgreSQL server is set up."""
    with glancing(engine) as tx:
        row = tx.execute(pick(dialect_of(tx), postgresql=_SERVER)).one()
        driver: Any = tx.connection.dbapi_connection
        # The process id that a pooler gives a new connection isn't one of the server's.
        pooled = driver.info.backend_pid != row.pid
        shares = _is_shared(tx, driver) if pooled else False
        return ServerFacts(
            *(row.version, row.standby, row.durable, pooled, shares, int(row.bytes), row.late)
        )


def _is_shared(tx: Connection, driver: Any) -> bool | None:
    """Return whether a pooler shares the server's processes among its clients.

    Two connections ask for their server process, once per transaction. The pooler shares if one
    process serves both, or if several serve one connection. None if the pooler has no free process
    for the second connection and lets it wait.
    """
    info = driver.info
    try:
        with (
            type(driver).connect(
                **{**info.get_parameters(), "connect_timeout": _SERVED_WITHIN},
                password=info.password,
                autocommit=True,
            ) as other,
            socket.socket(fileno=os.dup(other.fileno())) as line,
        ):
            given_up = Timer(_SERVED_WITHIN, line.shutdown, [socket.SHUT_RDWR])
            given_up.start()
            try:
                first = tx.execute(_PID).scalar_one()
                # Asked alternately, they might alternate between two processes unnoticed.
                theirs = {other.execute(_PID.text).fetchone()[0] for _ in range(2)}
                return first in theirs or len(theirs) > 1 or tx.execute(_PID).scalar_one() != first
            finally:
                given_up.cancel()
    except tx.dialect.loaded_dbapi.Error:
        return None


# -- statements ---------------------------------------------------------------------------------


def _size(dialect: Dialect) -> TextClause:
    return text(
        f"SELECT avg(size) FROM (SELECT {dialect.payload_size} AS size FROM shipper_outbox"
        f" ORDER BY id DESC LIMIT {_SAMPLE}) AS youngest"
    )


def _delivered_since(dialect: Dialect) -> TextClause:
    moment = dialect.time.format("moment")
    return text(
        "SELECT (SELECT coalesce(sum(delivered), 0) FROM shipper_minute"
        f" WHERE minute >= {moment}) AS delivered, (SELECT count(*) FROM shipper_outbox"
        f"{dialect.along.format('delivered')} WHERE status = 'delivered'"
        f" AND delivered_at >= {moment}) AS there"
    )


_STRETCH = text(
    "SELECT count(*) AS rows, max(id) AS highest FROM (SELECT id FROM shipper_outbox"
    " WHERE id >= :low AND id < :high ORDER BY id LIMIT :limit) AS stretch"
)
_OWNER = text("SELECT owner FROM shipper_lease WHERE name = 'outbox'")
# Each alone is one step in the index; for both in one SELECT, SQLite would read all of it.
_ENDS = text(
    "SELECT (SELECT min(id) FROM shipper_outbox) AS first,"
    " (SELECT max(id) FROM shipper_outbox) AS last"
)
_PID = text("SELECT pg_backend_pid()")
_SERVER = text(
    "SELECT pg_backend_pid() AS pid, current_setting('server_version') AS version,"
    " pg_is_in_recovery() AS standby, current_setting('fsync') = 'on' AS durable,"
    " (SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
    f" WHERE {OURS}) AS bytes,"
    # A role without rights sees no state; then it counts whether commits wait for anything. What
    # reads a logical slot is no standby, and neither is a base backup.
    " (SELECT count(*) FROM pg_stat_replication AS follower"
    " WHERE coalesce(state IN ('streaming', 'catchup'), true)"
    " AND coalesce(sync_state IN ('async', 'potential'),"
    " current_setting('synchronous_standby_names') = '')"
    " AND NOT EXISTS (SELECT 1 FROM pg_replication_slots AS slot"
    " WHERE slot.active_pid = follower.pid AND slot.slot_type = 'logical')) AS late"
)

"""What `doctor` asks a database: how it is set up, how fast the outbox grows, what waits longest.

Reads only, and by indexes: never the history, never all that is pending. What it finds is judged
elsewhere.
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

_DAY = 86400.0
# Events whose size stands for that of all.
_SAMPLE = 200
# Rows are counted in so many stretches of ids, and in each only so far.
_STRETCHES = 32
_COUNTED = 1024
# A pooler that has a process left gives it at once.
_SERVED_WITHIN = 3
# What a row takes beside its payload: its other columns, the entries in the indexes.
_ROW_BYTES = 400


@dataclass(frozen=True, slots=True)
class Growth:
    """How much was written within the last day; `bytes_each` with what a row takes beside."""

    events: int
    bytes_each: int

    @property
    def bytes_a_day(self) -> int:
        """Return what a day like the last takes, while nothing is deleted."""
        return self.events * self.bytes_each


@dataclass(frozen=True, slots=True)
class Oldest:
    """The pending event that waits longest; `seconds` since it was written."""

    id: int
    destination: str
    ordering_key: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server, as it is set up."""

    version: str
    standby: bool
    durable: bool
    """Whether it brings to the disk what it says is committed."""
    pooled: bool
    """Whether somebody stands between us and it."""
    shares: bool | None
    """Whether he gives the process that serves us to others between two transactions of ours; None
    where that couldn't be seen."""
    bytes: int
    """What all of the outbox's tables take."""


def reach(engine: Engine) -> None:
    """Ask the database anything; raises what `translating` makes of one that can't be reached."""
    with glancing(engine) as tx:
        ask = pick(dialect_of(engine), sqlite="PRAGMA schema_version", postgresql="SELECT 1")
        tx.exec_driver_sql(ask).scalar_one()


def journal_mode(engine: Engine) -> str:
    """Return the journal mode of an SQLite file."""
    with glancing(engine) as tx:
        mode: str = tx.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    return mode


def shipper_pid(engine: Engine) -> int | None:
    """Return the process that holds the lease, if it lives on this very machine."""
    with snapshot(engine) as tx:
        owner = Owner.read(tx.execute(_OWNER).scalar())
    if owner is None or not owner.is_local() or owner.is_dead():
        return None
    return owner.pid


def growth(engine: Engine, now: float) -> Growth:
    """Return how much was written within the day before `now` (seconds since 1970)."""
    dialect = dialect_of(engine)
    with snapshot(engine) as tx:
        first, last = tx.execute(_ENDS).one()
        if last is None:
            return Growth(0, 0)
        since = _first_since(tx, dialect, (first - 1, last), now - _DAY)
        events = _rows_between(tx, since, last)
        if since <= first:  # what is older has been deleted, and maybe some of that day's as well
            events += _deleted_since(tx, dialect, now - _DAY)
        [size] = tx.execute(_size(dialect)).one()
    return Growth(events, int(size or 0) + _ROW_BYTES)


def _rows_between(tx: Connection, first: int, last: int) -> int:
    """Return how many rows have an id from the one to the other: ids alone may never have been one.

    Exact where they are few. Beyond, each of some even stretches of ids is counted so far, and what
    is left of it is taken to be as dense.
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
    """Return how many of the events that were delivered since a moment are rows no more."""
    row = tx.execute(_delivered_since(dialect), {"moment": dialect.bind_time(moment)}).one()
    return max(0, int(row.delivered) - int(row.there))


def _first_since(tx: Connection, dialect: Dialect, among: tuple[int, int], moment: float) -> int:
    """Return the first id above the one and up to the other that was written since a moment.

    By halving: nobody looks for an event by when it was written, so there is no index; but ids and
    times grow together. Where there is none it is the id after the last.
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
    first = (
        f"SELECT id, {place} AS destination, {key} AS ordering_key,"
        f" {dialect.moment.format('created_at')} AS written FROM shipper_outbox"
        " WHERE status = 'pending' AND destination = CAST(:name AS text) ORDER BY id LIMIT 1"
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


def server(engine: Engine) -> Server:
    """Return how a PostgreSQL server is set up."""
    with glancing(engine) as tx:
        row = tx.execute(pick(dialect_of(tx), postgresql=_SERVER)).one()
        driver: Any = tx.connection.dbapi_connection
        # What a pooler names as our process when we connect is none of the server's.
        pooled = driver.info.backend_pid != row.pid
        shares = _is_shared(tx, driver) if pooled else False
        return Server(row.version, row.standby, row.durable, pooled, shares, int(row.bytes))


def _is_shared(tx: Connection, driver: Any) -> bool | None:
    """Return whether somebody between us and the server shares out its processes.

    Seen are those of two connections of ours, one statement a transaction: one that serves both
    is shared, and so is what serves one of them for a transaction only. He may have no process left
    for the second one, and let it wait: None then.
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
                # By turns they might get two processes by turns, too.
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
# Each alone is one step in the tree; both at once SQLite finds by reading all of it.
_ENDS = text(
    "SELECT (SELECT min(id) FROM shipper_outbox) AS first,"
    " (SELECT max(id) FROM shipper_outbox) AS last"
)
_PID = text("SELECT pg_backend_pid()")
_SERVER = text(
    "SELECT pg_backend_pid() AS pid, current_setting('server_version') AS version,"
    " pg_is_in_recovery() AS standby, current_setting('fsync') = 'on' AS durable,"
    " (SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
    f" WHERE {OURS}) AS bytes"
)

"""Where the two databases differ: the fragments and values that the store's statements are made of.

A statement that reads the same on both is written once, in the module of its verb, around these.
"""

from dataclasses import dataclass
from typing import overload

import orjson

from shipper.clock import iso, parse_iso
from shipper.contract.validation import MAX_PAYLOAD_BYTES

# One byte more than may be sent: enough to see that it is too much, and no more is ever loaded.
_PAYLOAD_BYTES = MAX_PAYLOAD_BYTES + 1

# Where somebody has emptied, restored or replaced the table, what is known of its ids is wrong:
# `made` is which table and which sequence there are, `last` the highest id that there was by these,
# -1 where they are others, `top` the same for whoever asks for the first time. `shape` changes with
# triggers, indexes and the table's file.

# Everything of ours on PostgreSQL. Others may begin with shipper_, too: it also means a carrier.
TABLES = (
    "shipper_outbox", "shipper_attempt", "shipper_claim", "shipper_destination", "shipper_hold",
    "shipper_lease", "shipper_turn", "shipper_count", "shipper_minute", "shipper_touched",
    "shipper_alembic_version",
)  # fmt: skip
OURS = (
    f"relname IN {TABLES} AND relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class"
    " WHERE oid = CAST('shipper_outbox' AS regclass))"
)

# Whether a daemon has the lease: by the server's clock, or because the commit by which it prolongs
# that waits for a standby. Whose commit it is its lock tells: anybody may have any name.
IS_ALIVE = (
    "(coalesce(expires_at > clock_timestamp(), false) OR EXISTS (SELECT 1 FROM pg_stat_activity"
    " JOIN pg_locks AS l USING (pid) WHERE wait_event = 'SyncRep' AND l.mode = 'RowShareLock'"
    " AND l.relation = CAST('shipper_lease' AS regclass) AND l.database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())))"
)

# The greatest id that a row can have.
ALL_IDS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Dialect:
    """The fragments of SQL and the conversions of one database."""

    name: str
    payload: str
    event_id: str
    ordering_key: str
    same_key: str
    its_hold: str
    hold_of: str
    along: str
    by_id: str
    ids: str
    time: str
    moment: str
    stamp: str
    before_all: str
    pulse: str
    last: str
    top: str
    made: str
    started: str
    books: str
    counters: str
    shape: str
    holds_horizon: bool

    # -- values in ----------------------------------------------------------------------------

    def bind_ids(self, rows: list[int]) -> list[int] | str:
        """Return a list of ids as the one parameter of `ids`."""
        return rows if self.name == "postgresql" else orjson.dumps(rows).decode()

    def bind_time(self, wall: float | None) -> float | str | None:
        """Return a wall time as the parameter of `time`."""
        return wall if wall is None or self.name == "postgresql" else iso(wall)

    def bind_key(self, key: str) -> str | bytes:
        """Return an ordering key as the parameter of `same_key`, byte for byte as it was read."""
        return key if self.name == "postgresql" else key.encode("utf-8", "surrogateescape")

    # -- values out ---------------------------------------------------------------------------

    @overload
    def text(self, value: None) -> None: ...

    @overload
    def text(self, value: str | bytes) -> str: ...

    def text(self, value: str | bytes | None) -> str | None:
        """Return a text column as str; bytes that aren't UTF-8 survive as surrogate escapes."""
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value

    def wall(self, value: str | float | None) -> float | None:
        """Return a time column as seconds since 1970."""
        if value is None:
            return None
        try:
            return parse_iso(value) if isinstance(value, str) else float(value)
        except ValueError:
            return 0.0  # somebody wrote there by hand; due at once is the safe reading


_HIGHEST = "SELECT max(id) FROM shipper_outbox"
_TOP_SQLITE = (
    "max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'shipper_outbox'), 0),"
    f" coalesce(({_HIGHEST}), 0))"
)
# By the numbers that `made` has found, because to look for a sequence by name takes longer than all
# the rest. TRUNCATE ... RESTART IDENTITY gives it another file; what was dropped has none.
_SAME = (
    "CAST(CAST('shipper_outbox' AS regclass) AS oid) = :outbox"
    " AND pg_relation_filenode(CAST(:seq AS regclass)) = :node"
)
_LAST = (
    f"CASE WHEN {_SAME} THEN coalesce(pg_sequence_last_value(CAST(:seq AS regclass)), 0)"
    " ELSE -1 END"
)
# Turns after which what they have counted is added to the counters; and the way to what is left of
# it, which passes by what was deleted.
ADDED_AFTER = 256
NOT_ADDED = f"turn > (SELECT coalesce(max(turn), 0) - {4 * ADDED_AFTER} FROM shipper_turn)"
_SETTLED = "(SELECT settled FROM shipper_turn ORDER BY turn DESC LIMIT 1)"
# When this server began to serve, in microseconds; negative for a standby. A pooler changes it
# under an open connection, and no two servers have the same.
_STARTED = (
    "CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS bigint)"
    " * CASE WHEN pg_is_in_recovery() THEN -1 ELSE 1 END"
)
_NAMED = "CAST(pg_get_serial_sequence('shipper_outbox', 'id') AS regclass)"

# In SQLite texts are read as bytes: invalid UTF-8 in one row would make Python refuse the batch.
SQLITE = Dialect(
    name="sqlite",
    payload=f"substr(CAST(payload AS BLOB), 1, {_PAYLOAD_BYTES})",
    event_id="CAST(event_id AS BLOB)",
    ordering_key="CAST(ordering_key AS BLOB)",
    same_key="destination = :destination AND ordering_key = CAST(:key AS TEXT)",
    its_hold="{hold}.destination = {row}.destination AND {hold}.ordering_key = {row}.ordering_key",
    hold_of="destination = :destination AND ordering_key = CAST(:key AS TEXT)",
    # The way to the rows is said and not left to the planner: without statistics it reads a lane
    # by going through everything that is pending, and with old ones events of given ids.
    along=" INDEXED BY shipper_outbox_{0}",
    by_id=" NOT INDEXED",  # but the rowid
    ids="(SELECT value FROM json_each(:ids))",
    time=":{0}",
    moment="{0}",
    stamp="{0}",
    before_all="",
    pulse=f"SELECT generation, {_TOP_SQLITE} FROM shipper_lease WHERE name = 'outbox'",
    last=_TOP_SQLITE,
    top=_TOP_SQLITE,
    made="SELECT 0, 0, 0",
    started="0",
    books="shipper_lease WHERE name = 'outbox'",
    counters="shipper_destination",
    shape="PRAGMA schema_version",
    holds_horizon=False,
)

POSTGRES = Dialect(
    name="postgresql",
    payload=f"substr(convert_to(payload::text, 'UTF8'), 1, {_PAYLOAD_BYTES})",
    event_id="event_id",
    ordering_key="ordering_key",
    # The destination is written so that only the index of the lanes fits: before the first ANALYZE
    # the planner takes the other, and goes through everything that is pending.
    same_key=(
        "lane = hashtextextended(:destination || chr(31) || :key, 0) AND ordering_key = :key"
        " AND destination IS NOT DISTINCT FROM :destination"
    ),
    # As the index has it, see `shipper_hold_key`.
    its_hold=(
        "{hold}.destination = {row}.destination"
        " AND md5({hold}.ordering_key) = md5({row}.ordering_key)"
    ),
    hold_of="destination = :destination AND md5(ordering_key) = md5(CAST(:key AS text))",
    along="",
    by_id="",
    ids="(SELECT unnest(CAST(:ids AS bigint[])))",
    time="to_timestamp(CAST(:{0} AS double precision))",
    moment="CAST(extract(epoch FROM {0}) AS double precision)",
    stamp="CAST({0} AS timestamptz)",
    before_all="-infinity",
    # All values are of one snapshot, because it is one statement; only the last is read after it,
    # so it can't be too low. pg_snapshot_xmax would be: it is one above the last transaction that
    # has *ended*, and says nothing of a younger one that runs. age() counts from it to the next
    # number that nobody has.
    pulse=(
        f"SELECT generation, {_LAST}, coalesce({_SETTLED}, 0), coalesce(({_HIGHEST}), 0),"
        " CAST(CAST(pg_snapshot_xmin(s) AS text) AS bigint),"
        " CAST(CAST(pg_snapshot_xmax(s) AS text) AS bigint) + age(CAST(pg_snapshot_xmax(s) AS xid))"
        f", {_STARTED}"
        " FROM pg_current_snapshot() AS s LEFT JOIN shipper_lease ON name = 'outbox'"
    ),
    last=f"greatest({_LAST}, CASE WHEN {_SAME} THEN ({_HIGHEST}) END)",
    top=f"greatest(coalesce(pg_sequence_last_value({_NAMED}), 0), coalesce(({_HIGHEST}), 0))",
    made=(
        "SELECT CAST(CAST('shipper_outbox' AS regclass) AS oid), coalesce(CAST(seq AS oid), 0),"
        f" coalesce(pg_relation_filenode(seq), 0) FROM (SELECT {_NAMED} AS seq OFFSET 0) AS named"
    ),
    started=_STARTED,
    books="(SELECT * FROM shipper_turn ORDER BY turn DESC LIMIT 1) AS last_turn",
    # With what turns have counted and nobody has added yet.
    counters=(
        "(SELECT name, state, reason, since, next_try_at, held, updated_at, failures, last_error,"
        " failing_since, releases, recalls, discarded, purged,"
        " delivered + coalesce(more_delivered, 0) AS delivered,"
        " dead + coalesce(more_dead, 0) AS dead FROM shipper_destination LEFT JOIN"
        " (SELECT name, CAST(sum(delivered) AS bigint) AS more_delivered,"
        f" CAST(sum(dead) AS bigint) AS more_dead FROM shipper_count WHERE {NOT_ADDED}"
        " GROUP BY name) AS more"
        " USING (name)) AS shipper_destination"
    ),
    shape=(
        "SELECT concat(pg_relation_filenode('shipper_outbox'),"
        " (SELECT string_agg(concat(tgname, tgenabled), ' ' ORDER BY tgname) FROM pg_trigger"
        " WHERE tgrelid = CAST('shipper_outbox' AS regclass) AND NOT tgisinternal),"
        " (SELECT count(*) FROM pg_index"
        " WHERE indrelid = CAST('shipper_outbox' AS regclass) AND indisvalid),"
        " (SELECT string_agg(CAST(oid AS text), ' ' ORDER BY oid) FROM pg_class"
        f" WHERE {OURS} AND row_security_active(oid)))"
    ),
    holds_horizon=True,
)


def dialect_of(name: str) -> Dialect:
    """Return the dialect for SQLAlchemy's name of it."""
    return POSTGRES if name == "postgresql" else SQLITE

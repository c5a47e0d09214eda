"""The statements of a look, made once for a dialect. They decide which rows count as pending.

They must never return a row above the watermark, or of a shard that wasn't asked for.

A look at some shards passes by the rows of all others, but only so many at a time. One more row
says how far it has seen: that counts unless the page is full.
"""

from sqlalchemy import text

from shipper.store.db.dialect import Dialect
from shipper.store.db.postgres.catalog import CLUSTER
from shipper.store.db.statement import Statement

REACH = 4096
"""How many rows one look at some shards passes by: each takes a microsecond or two."""
SEEN = -1
"""The shard of the row that says how far such a look has seen."""

_INDEXES = ("pending", "maybe", "key")


def _lane(dialect: Dialect, columns: str, table: str, its: str) -> str:
    """Return the query for the beginning of a lane; on PostgreSQL from a floor on (`floors`)."""
    mine = f"WHERE status = 'pending' AND id <= :safe AND {dialect.same_key}{its}"
    if not dialect.keeps_dead_rows:
        return f"{columns} FROM {table} {mine} ORDER BY maybe_received DESC, id LIMIT :limit"
    columns += f", maybe_received FROM {table} {mine}"
    return (
        f"({columns} AND maybe_received >= 1 ORDER BY maybe_received DESC, id LIMIT :limit)"
        f" UNION ALL ({columns} AND maybe_received = 0 AND id > :floor ORDER BY id LIMIT :limit)"
    )


def _of_shards(page: str, all_of_them: str) -> str:
    """Return the query for a page of some shards; one more row, of shard SEEN, has the last id."""
    last = f"(SELECT id {all_of_them} ORDER BY id LIMIT 1 OFFSET {REACH - 1})"
    return (
        f"WITH reached AS MATERIALIZED (SELECT coalesce({last}, CAST(:safe AS bigint)) AS seen)"
        f" ({page} AND id <= (SELECT seen FROM reached) ORDER BY id LIMIT :limit)"
        f" UNION ALL (SELECT seen, NULL, NULL, NULL, NULL, {SEEN} FROM reached)"
    )


class LookStatements:
    """The statements of this module, made once for a dialect; `of_shards` for some shards only."""

    def __init__(self, dialect: Dialect, *, of_shards: bool = False) -> None:
        moment = dialect.moment.format("next_attempt_at")
        # With LIMIT, PostgreSQL looks the hold up for each row; with EXISTS its planner may read
        # all holds.
        held = (
            "(SELECT 1 FROM shipper_hold AS h WHERE"
            f" {dialect.its_hold.format(hold='h', row='shipper_outbox')} LIMIT 1)"
        )
        columns = (
            f"SELECT id, {dialect.ordering_key} AS ordering_key, {moment} AS next_attempt_at,"
            f" {held} AS held, attempts{', slot & 63' if dialect.moves_shards else ''}"
        )
        its = " AND slot & 63 = ANY(CAST(:shards AS int[]))" if of_shards else ""
        of_all = "WHERE status = 'pending' AND destination = :destination AND id <= :safe"
        pending = of_all + its
        page = "AND id > :after ORDER BY id LIMIT :limit"
        table = {name: f"shipper_outbox{dialect.along.format(name)}" for name in _INDEXES}
        tail = f"{columns} FROM {table['pending']} {pending} {page}"
        if of_shards:
            from_here = f"FROM {table['pending']} {of_all} AND id > :after"
            tail = _of_shards(f"{columns} {from_here}{its}", from_here)
        self.looks = {
            "pending": Statement(dialect, tail),
            "maybe_received": Statement(
                dialect, f"{columns} FROM {table['maybe']} {pending} AND maybe_received = 1 {page}"
            ),
            "lane": Statement(dialect, _lane(dialect, columns, table["key"], its)),
        }
        self.single = Statement(dialect, f"{columns} FROM shipper_outbox {pending} AND id = :id")
        since, next_try, updated, failing = map(
            dialect.moment.format, ("since", "next_try_at", "updated_at", "failing_since")
        )
        self.links = text(
            f"SELECT name, state, reason, {since} AS since, {next_try} AS next_try_at,"
            f" {updated} AS updated_at, failures, last_error, {failing} AS failing_since"
            f" FROM {dialect.counters}"
        )
        self.version = Statement(dialect, "PRAGMA data_version")
        self.made = Statement(dialect, dialect.made)
        self.shape = Statement(dialect, dialect.shape)
        self.pulse = Statement(dialect, dialect.pulse)
        self.may_read_cluster = Statement(
            dialect, "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
        )
        self.cluster = Statement(dialect, CLUSTER)

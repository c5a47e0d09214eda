"""The statements of a turn on PostgreSQL, where a turn is a row of its own.

A row that changes with each turn would leave a dead version each time. While another session holds
a snapshot, the next turn would have to read past all of these. So no statement here reads more than
the daemon's last turn. A turn locks only the row of its own daemon, so that turns of several
daemons don't wait for each other. The counters of a destination belong to all of them: what can't
be added at once, because another transaction has locked them, stays with the turn. What turns have
counted, an operator's command or retention adds up as well: what such a transaction has locked is
added up later.
"""

from typing import Final

HIGHEST: Final = "SELECT max(id) FROM shipper_outbox"
# The last turn of each daemon, which has its highest watermark, and what ended daemons knew (0).
LAST_TURNS: Final = (
    "(SELECT last.* FROM (SELECT token FROM shipper_daemon UNION ALL SELECT 0) AS d"
    " CROSS JOIN LATERAL (SELECT t.ctid AS at, settled FROM shipper_turn AS t"
    " WHERE t.token = d.token ORDER BY turn DESC LIMIT 1) AS last)"
)
SETTLED: Final = f"(SELECT max(settled) FROM {LAST_TURNS} AS ends)"
BOOKS: Final = f"(SELECT {SETTLED} AS settled) AS last_turn"
NAMED: Final = "CAST(pg_get_serial_sequence('shipper_outbox', 'id') AS regclass)"
TOP: Final = f"greatest(coalesce(pg_sequence_last_value({NAMED}), 0), coalesce(({HIGHEST}), 0))"
# By the numbers that `made` has found, because finding a sequence by its name takes longer than all
# the rest. TRUNCATE ... RESTART IDENTITY gives the sequence another file; a sequence that was
# dropped has no file.
_SAME: Final = (
    "CAST(CAST('shipper_outbox' AS regclass) AS oid) = :outbox"
    " AND pg_relation_filenode(CAST(:seq AS regclass)) = :node"
)
GIVEN_OF_SAME: Final = (
    f"CASE WHEN {_SAME} THEN coalesce(pg_sequence_last_value(CAST(:seq AS regclass)), 0)"
    " ELSE -1 END"
)
LAST: Final = f"greatest({GIVEN_OF_SAME}, CASE WHEN {_SAME} THEN ({HIGHEST}) END)"
# When this server started, in microseconds; negative for a standby. No two servers have the same
# number, so it also shows when a pooler changes the server under an open connection.
STARTED: Final = (
    "CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS bigint)"
    " * CASE WHEN pg_is_in_recovery() THEN -1 ELSE 1 END"
)
FOLD_AFTER: Final = 256
SKIP_WITHIN: Final = 7 * FOLD_AFTER
_SEARCHED: Final = SKIP_WITHIN + FOLD_AFTER
# After which turn there are rows of a daemon's turns. The bound keeps a search away from deleted
# rows.
_BEGIN: Final = (
    f"(SELECT coalesce(max(turn), 0) - {_SEARCHED} FROM shipper_turn AS t WHERE t.token = {{0}})"
)
# What a daemon's turns have counted and is not yet added up.
NOT_ADDED: Final = (
    f"{{count}}.token = {{daemon}}.token AND {{count}}.turn > {_BEGIN.format('{daemon}.token')}"
)
TURNS_LEFT: Final = f"token = :token AND turn > {_BEGIN.format(':token')}"

_NOW = "clock_timestamp()"
_ON_CONFLICT: Final = (
    "ON CONFLICT (name) DO UPDATE SET"
    " delivered = shipper_destination.delivered + excluded.delivered,"
    " dead = shipper_destination.dead + excluded.dead"
)
_ADD_UP: Final = (
    "WITH gone AS (DELETE FROM shipper_count AS c {0} RETURNING c.name, c.delivered, c.dead)"
    " INSERT INTO shipper_destination (name, delivered, dead)"
    " SELECT name, sum(delivered), sum(dead) FROM gone GROUP BY name ORDER BY name"
    f" {_ON_CONFLICT}"
)

# Which of the names `named` have no row. ON CONFLICT alone would wait for another transaction that
# changes the row.
IS_NEW: Final = "NOT EXISTS (SELECT 1 FROM shipper_destination AS d WHERE d.name = named.name)"
_COUNTED: Final = "FROM shipper_count WHERE token = :token AND turn >= :after AND turn <= :turn"
# Another daemon can stand still in a transaction that has locked a destination's counters, or what
# our turns have counted. So a turn adds up only what is free. What it can't add becomes the turn's
# own count.
_ADD_UP_FREE: Final = (
    "WITH gone AS (DELETE FROM shipper_count AS c WHERE c.ctid = ANY(ARRAY("
    f"SELECT ctid {_COUNTED} FOR UPDATE SKIP LOCKED)) RETURNING c.name, c.delivered, c.dead),"
    " named AS (SELECT name, CAST(sum(delivered) AS bigint) AS delivered,"
    " CAST(sum(dead) AS bigint) AS dead FROM gone GROUP BY name),"
    " free AS (SELECT name FROM shipper_destination WHERE name IN (SELECT name FROM named)"
    " ORDER BY name FOR UPDATE SKIP LOCKED),"
    " added AS (UPDATE shipper_destination AS d SET delivered = d.delivered + named.delivered,"
    " dead = d.dead + named.dead FROM named JOIN free USING (name) WHERE d.name = named.name),"
    " kept AS (INSERT INTO shipper_count (token, turn, name, delivered, dead)"
    f" SELECT :token, :turn, name, delivered, dead FROM named WHERE NOT {IS_NEW}"
    " AND name NOT IN (SELECT name FROM free)),"
    " added_new AS (INSERT INTO shipper_destination (name, delivered, dead)"
    f" SELECT name, delivered, dead FROM named WHERE {IS_NEW} ORDER BY name"
    f" {_ON_CONFLICT})"
    f" SELECT (SELECT count(*) {_COUNTED}) > (SELECT count(*) FROM gone)"
)

# Whether a daemon lives: by the server's clock its time isn't over, or a commit that has locked its
# row waits for a standby. A lock of a row is the number of its transaction, so other commits that
# wait say nothing about this daemon; a process can give itself any name. An operator's command that
# waits so keeps the rows of all daemons locked, and none of them can write.
_IS_ALIVE = (
    f"(expires_at > {_NOW} OR EXISTS (SELECT 1 FROM pg_stat_activity"
    " WHERE wait_event = 'SyncRep' AND backend_xid = shipper_daemon.xmax))"
)


class PostgresFence:
    """See `Fence` in `db.fence`."""

    advance = (
        "WITH held AS (SELECT 1 FROM shipper_daemon WHERE token = :token FOR UPDATE)"
        " INSERT INTO shipper_turn (turn, token, claim, delivery, settled)"
        " SELECT :number, :token, :claim, :delivery,"
        f" CASE WHEN {STARTED} = :met THEN greatest(:settled, before.settled)"
        " ELSE before.settled END"
        " FROM held, shipper_turn AS before WHERE before.token = :token"
        " AND before.turn = :number - 1"
        # It reads the outbox, so that no session can empty it before this transaction ends: so a
        # recorded id is that of the event that was sent.
        f" AND {LAST} >= :known ON CONFLICT (token, turn) DO NOTHING RETURNING {STARTED}, settled"
    )
    advance_returns = True
    is_alive = _IS_ALIVE
    unseen = f"CAST(extract(epoch FROM {_NOW} - expires_at) AS double precision) + ttl"
    fold_after = FOLD_AFTER
    skip_within = SKIP_WITHIN
    fold_free: str | None = _ADD_UP_FREE
    fold_one: str | None = _ADD_UP.format(
        f"WHERE c.token = :token AND c.turn > {_BEGIN.format(':token')}"
    )
    drop_turns: str | None = (
        "DELETE FROM shipper_turn WHERE token = :token AND turn >= :after AND turn < :turn"
    )
    take_counts: str | None = (
        "WITH gone AS (DELETE FROM shipper_count AS c USING shipper_daemon AS d"
        f" WHERE {NOT_ADDED.format(count='c', daemon='d')} RETURNING c.name, c.delivered, c.dead)"
        " SELECT name, CAST(sum(delivered) AS bigint), CAST(sum(dead) AS bigint) FROM gone"
        " GROUP BY name ORDER BY name"
    )

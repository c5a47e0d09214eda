"""The statements of `membership`, for PostgreSQL. They decide nothing.

None but ORPHANS reads more of a daemon's turns than the last ones: while another session holds a
snapshot, the deleted ones before are still there (see `postgres.fence`). BY_INDEX has to go before
them, because statistics count only the few rows that aren't deleted.
"""

from typing import Final

from sqlalchemy import text

from shipper.store.db.dialect import POSTGRES
from shipper.store.db.postgres.fence import LAST_TURNS, SETTLED, TOP, TURNS_LEFT
from shipper.store.db.statement import Statement

GONE_MOST: Final = 64
"""So many daemons that were ended are remembered."""

_NOW: Final = "clock_timestamp()"
_EXPIRES: Final = f"{_NOW} + make_interval(secs => CAST(:ttl AS double precision))"

BY_INDEX: Final = text(
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"
)
LOCK: Final = text(
    "SELECT token, epoch, coalesce((SELECT token FROM shipper_lease WHERE name = 'corrected'), 0)"
    " AS corrected FROM shipper_lease WHERE name = 'outbox' FOR UPDATE"
)
LOCK_IF_FREE: Final = text(f"{LOCK.text} SKIP LOCKED")
EPOCH: Final = text(
    "SELECT token, coalesce((SELECT token FROM shipper_lease WHERE name = 'corrected'), 0)"
    " AS corrected FROM shipper_lease WHERE name = 'outbox'"
)
CHANGED: Final = text("UPDATE shipper_lease SET epoch = epoch + 1 WHERE name = 'outbox'")
# Tokens rise in steps of a random size. If the database goes back to an earlier state, the next
# daemon would otherwise get a token that was given since then, and whose daemon may still run. What
# other tables have of daemons without a row was ended just before.
NEXT_TOKEN: Final = text(
    "SELECT greatest(token, (SELECT max(token) FROM shipper_daemon),"
    " (SELECT max(token) FROM shipper_shard)) + 1 + CAST(floor(random() * 1000000) AS bigint)"
    " FROM shipper_lease WHERE name = 'outbox'"
)
GIVE_TOKEN: Final = text("UPDATE shipper_lease SET token = :token WHERE name = 'outbox'")
CORRECTED: Final = text(
    "INSERT INTO shipper_lease (name, token) VALUES ('corrected', :token)"
    " ON CONFLICT (name) DO UPDATE SET token = excluded.token"
)

_DAEMONS: Final = (
    "SELECT token, name, owner, CAST(expires_at AS text) AS expires, ttl,"
    f" expires_at <= {_NOW} AS seems_over,"
    " (SELECT max(turn) FROM shipper_turn AS t WHERE t.token = d.token) AS turn"
    " FROM shipper_daemon AS d ORDER BY token"
)
DAEMONS: Final = text(_DAEMONS)
# Each daemon asks this every second: in one statement, because that is one view of both tables.
STANDING: Final = Statement(
    POSTGRES,
    "SELECT shards, tokens, d.* FROM (SELECT array_agg(shard) AS shards, array_agg(token) AS tokens"
    f" FROM shipper_shard) AS s LEFT JOIN ({_DAEMONS}) AS d ON true ORDER BY d.token",
)

# Something of a daemon whose row a tool has deleted. This reads all turns, and deleted ones too.
ORPHANS: Final = text(
    "SELECT token FROM (SELECT token FROM shipper_claim UNION SELECT token FROM shipper_count"
    " UNION SELECT token FROM shipper_link UNION SELECT token FROM shipper_turn WHERE token > 0)"
    " AS named WHERE token NOT IN (SELECT token FROM shipper_daemon) ORDER BY token"
)

# Whether one of them may have claimed something in a shard that is about to be taken.
HAS_STRAYS: Final = text(
    "SELECT count(*) < 64 OR count(token) FILTER (WHERE token NOT IN"
    " (SELECT token FROM shipper_daemon)) > 0 FROM shipper_shard"
)

JOIN: Final = text(
    "INSERT INTO shipper_daemon (token, name, owner, ttl, expires_at, settings)"
    f" VALUES (:token, :name, :owner, CAST(:ttl AS double precision), {_EXPIRES}, :settings)"
)
# If an operator has set the sequence of ids back, nothing is known about their order: what turns
# say of it has to go before the ids have risen again.
FORGET_ORDER: Final = text(
    f"UPDATE shipper_turn SET settled = top FROM (SELECT {TOP} AS top) AS given WHERE settled > top"
    f" AND ctid = ANY (ARRAY(SELECT ends.at FROM {LAST_TURNS} AS ends))"
)
BEGIN: Final = text(
    "INSERT INTO shipper_turn (turn, token, claim, delivery, settled)"
    f" SELECT 0, :token, 0, 0, coalesce({SETTLED}, 0)"
    " RETURNING turn, token, claim, delivery, settled"
)
# The first waits for what these daemons are writing; the second leaves out those that write now.
LOCK_DAEMONS: Final = text(
    "SELECT token FROM shipper_daemon WHERE token = ANY(CAST(:tokens AS bigint[]))"
    " ORDER BY token FOR UPDATE"
)
LOCK_IDLE_DAEMONS: Final = text(f"{LOCK_DAEMONS.text} SKIP LOCKED")
HOLD: Final = text("SELECT 1 FROM shipper_daemon WHERE token = :token FOR UPDATE")
LAST: Final = text(
    "SELECT turn, token, claim, delivery, settled FROM shipper_turn WHERE token = :token"
    " ORDER BY turn DESC LIMIT 1"
)
RENEW: Final = text(
    "UPDATE shipper_daemon SET ttl = CAST(:ttl AS double precision), name = :name,"
    f" settings = :settings, expires_at = {_EXPIRES} WHERE token = :token"
)
STOPS: Final = text("UPDATE shipper_daemon SET owner = :owner WHERE token = :token")

# What people see of a daemon that was ended. A row without settings is a command's that had the
# outbox alone, or of a version without names: no daemon of its name can be back. A daemon that
# crashes under changing names fills no table.
REMEMBER: Final = text(
    "INSERT INTO shipper_gone (token, name, owner, ttl, since, expires_at)"
    " SELECT token, name, owner, ttl, since, expires_at FROM shipper_daemon"
    " WHERE token = :token AND settings IS NOT NULL ON CONFLICT DO NOTHING"
)
FORGET_OLDEST: Final = text(
    "DELETE FROM shipper_gone WHERE token NOT IN"
    f" (SELECT token FROM shipper_gone ORDER BY token DESC LIMIT {GONE_MOST})"
)
BACK: Final = text(
    "DELETE FROM shipper_gone WHERE token ="
    " (SELECT min(token) FROM shipper_gone WHERE name = :name)"
)

# A tool may have emptied the table.
OWN_SHARDS: Final = text(
    "INSERT INTO shipper_shard (shard, token) SELECT unnest(CAST(:shards AS smallint[])), :token"
    " ON CONFLICT DO NOTHING"
)
FREE_SHARDS: Final = text(
    "INSERT INTO shipper_shard (shard) SELECT generate_series(0, 63) ON CONFLICT DO NOTHING"
)
TAKE: Final = text(
    "UPDATE shipper_shard SET token = :token WHERE shard = ANY(CAST(:shards AS smallint[]))"
    " AND (token IS NULL OR token NOT IN (SELECT token FROM shipper_daemon)) RETURNING shard"
)
# What the last holders of these shards knew to be settled: some of it may have been received.
INHERIT: Final = text(
    f"UPDATE shipper_turn SET settled = greatest(settled, {SETTLED}) WHERE token = :token"
    " AND turn = (SELECT max(turn) FROM shipper_turn AS t WHERE t.token = :token)"
)
GIVE: Final = text(
    "UPDATE shipper_shard SET token = NULL WHERE shard = ANY(CAST(:shards AS smallint[]))"
    " AND token = :token"
)

# Without its last turn it can't write another one.
NO_MORE_TURNS: Final = (
    text(
        "INSERT INTO shipper_turn (token, turn, settled) (SELECT 0, 0, settled"
        " FROM shipper_turn WHERE token = :token ORDER BY turn DESC LIMIT 1)"
        " ON CONFLICT (token, turn)"
        " DO UPDATE SET settled = greatest(shipper_turn.settled, excluded.settled)"
    ),
    text(f"DELETE FROM shipper_turn WHERE {TURNS_LEFT}"),
)
END: Final = (
    text("DELETE FROM shipper_daemon WHERE token = :token"),
    text("UPDATE shipper_shard SET token = NULL WHERE token = :token"),
    # What it last saw of its destinations is what the next daemon begins with.
    text(
        "UPDATE shipper_destination AS d SET state = l.state, reason = l.reason,"
        " since = CASE d.held WHEN 1 THEN d.since ELSE l.since END,"
        " next_try_at = l.next_try_at, updated_at = l.updated_at, failures = l.failures,"
        " last_error = l.last_error, failing_since = l.failing_since"
        " FROM (SELECT * FROM shipper_link WHERE token = :token ORDER BY name) AS l"
        " WHERE d.name = l.name"
    ),
    text("DELETE FROM shipper_link WHERE token = :token"),
    *NO_MORE_TURNS,
    CHANGED,
)
# What daemons may have in flight is claimed: the shards of that, if they are free, become theirs.
KEEP_CLAIMED: Final = text(
    "UPDATE shipper_shard AS s SET token = named.token FROM (SELECT DISTINCT o.slot & 63 AS shard,"
    " c.token FROM shipper_daemon AS d JOIN shipper_claim AS c ON c.token = d.token"
    " CROSS JOIN json_array_elements_text(CAST(c.ids AS json)) AS one (id)"
    " JOIN shipper_outbox AS o ON o.id = CAST(one.id AS bigint) AND o.status = 'pending') AS named"
    " WHERE s.shard = named.shard AND s.token IS NULL"
)

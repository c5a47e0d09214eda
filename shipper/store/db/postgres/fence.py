"""The statements of a turn on PostgreSQL, where a turn is a row of its own.

A row that changes with each turn would leave a dead version each time. While another session holds
a snapshot, the next turn would have to read past all of these. So no statement here reads more than
the last turn.
"""

from typing import Final

HIGHEST: Final = "SELECT max(id) FROM shipper_outbox"
BOOKS: Final = "(SELECT * FROM shipper_turn ORDER BY turn DESC LIMIT 1) AS last_turn"
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
# What turns have counted and is not yet added up. The bound keeps the search away from deleted
# rows.
NOT_ADDED: Final = f"turn > (SELECT coalesce(max(turn), 0) - {4 * FOLD_AFTER} FROM shipper_turn)"

_NOW = "clock_timestamp()"
_EXPIRES = f"{_NOW} + make_interval(secs => :ttl)"
_ITS = "WHERE name = 'outbox' AND token = :token"
_INSERT = "INSERT INTO shipper_turn (turn, token, claim, delivery, settled)"
_ADD_UP = (
    "WITH gone AS (DELETE FROM shipper_count WHERE {0} RETURNING name, delivered, dead)"
    " INSERT INTO shipper_destination (name, delivered, dead)"
    " SELECT name, sum(delivered), sum(dead) FROM gone GROUP BY name ORDER BY name"
    " ON CONFLICT (name) DO UPDATE SET"
    " delivered = shipper_destination.delivered + excluded.delivered,"
    " dead = shipper_destination.dead + excluded.dead"
)

# Whether a daemon has the lease: by the server's clock its time isn't over, or the commit that
# prolongs it waits for a standby. A lock shows whose commit it is, because a process can give
# itself any name.
_IS_ALIVE = (
    f"(coalesce(expires_at > {_NOW}, false) OR EXISTS (SELECT 1 FROM pg_stat_activity"
    " JOIN pg_locks AS l USING (pid) WHERE wait_event = 'SyncRep' AND l.mode = 'RowShareLock'"
    " AND l.relation = CAST('shipper_lease' AS regclass) AND l.database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())))"
)


class PostgresFence:
    """See `Fence` in `db.fence`."""

    lease = (
        f"SELECT token, owner, CAST(expires_at AS text), ttl, coalesce(expires_at <= {_NOW}, true),"
        " CASE WHEN owner IS NOT NULL THEN CAST(acquired_at AS text) END"
        " FROM shipper_lease WHERE name = 'outbox' FOR UPDATE"
    )
    last = f"SELECT turn, token, claim, delivery, settled FROM {BOOKS}"
    take = (
        "UPDATE shipper_lease SET token = :token, owner = :owner, ttl = :ttl,"
        f" acquired_at = {_NOW}, expires_at = {_EXPIRES} WHERE name = 'outbox'"
    )
    renew = f"UPDATE shipper_lease SET expires_at = {_EXPIRES} {_ITS}"
    drop = f"UPDATE shipper_lease SET owner = NULL, expires_at = NULL, token = token + 1 {_ITS}"
    # If an operator has set the sequence of ids back, nothing is known about their order.
    begin: str | None = (
        f"{_INSERT} SELECT :number + 1, :token, :claim, :delivery, least(:settled, {TOP})"
        " RETURNING turn, token, claim, delivery, settled"
    )
    advance = (
        f"WITH held AS (SELECT 1 FROM shipper_lease {_ITS}"
        f" FOR UPDATE) {_INSERT} SELECT :number, :token, :claim, :delivery,"
        f" CASE WHEN {STARTED} = :met THEN greatest(:settled, before.settled)"
        " ELSE before.settled END"
        " FROM held, shipper_turn AS before WHERE before.turn = :number - 1"
        " AND before.token = :token"
        # It reads the outbox, so that no session can empty it before this transaction ends: so a
        # recorded id is that of the event that was sent.
        f" AND {LAST} >= :known ON CONFLICT (turn) DO NOTHING RETURNING {STARTED}, settled"
    )
    advance_returns = True
    is_alive = _IS_ALIVE
    unseen = f"CAST(extract(epoch FROM {_NOW} - expires_at) AS double precision) + ttl"
    fold_after = FOLD_AFTER
    fold: tuple[str, ...] = (
        _ADD_UP.format("turn > :after AND turn <= :turn"),
        "DELETE FROM shipper_turn WHERE turn >= :after AND turn < :turn",
    )
    fold_all: str | None = _ADD_UP.format(NOT_ADDED)

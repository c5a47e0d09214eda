"""What is asked of PostgreSQL's catalog about our tables, and of its processes about a daemon."""

from typing import Final

# All of our tables. A table of the application may begin with shipper_, too: it also means a
# carrier.
TABLES: Final = (
    "shipper_outbox", "shipper_attempt", "shipper_claim", "shipper_destination", "shipper_hold",
    "shipper_lease", "shipper_turn", "shipper_count", "shipper_minute", "shipper_touched",
    "shipper_alembic_version",
)  # fmt: skip
OURS: Final = (
    f"relname IN {TABLES} AND relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class"
    " WHERE oid = CAST('shipper_outbox' AS regclass))"
)

# Whether a daemon has the lease: its time isn't over by the server's clock, or the commit that
# prolongs it waits for a standby. A lock tells whose commit it is: any process may have any name.
IS_ALIVE: Final = (
    "(coalesce(expires_at > clock_timestamp(), false) OR EXISTS (SELECT 1 FROM pg_stat_activity"
    " JOIN pg_locks AS l USING (pid) WHERE wait_event = 'SyncRep' AND l.mode = 'RowShareLock'"
    " AND l.relation = CAST('shipper_lease' AS regclass) AND l.database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())))"
)

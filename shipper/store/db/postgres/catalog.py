"""How statements find shipper's tables in PostgreSQL's catalog."""

from typing import Final

# All of shipper's tables by name, because a table of the application can begin with shipper_ too: a
# shipper is also a carrier.
TABLES: Final = (
    "shipper_outbox", "shipper_attempt", "shipper_claim", "shipper_destination", "shipper_hold",
    "shipper_lease", "shipper_turn", "shipper_count", "shipper_minute", "shipper_touched",
    "shipper_daemon", "shipper_gone", "shipper_shard", "shipper_link",
    "shipper_alembic_version",
)  # fmt: skip
# Which cluster it is: the same for a server and for its standby, which may have taken its place.
CLUSTER: Final = "SELECT system_identifier FROM pg_control_system()"
OURS: Final = (
    f"relname IN {TABLES} AND relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class"
    " WHERE oid = CAST('shipper_outbox' AS regclass))"
)

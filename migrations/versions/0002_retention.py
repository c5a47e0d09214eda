"""The indexes by which retention finds old events, and PostgreSQL's settings for autovacuum."""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INDEXES = ("delivered", "discarded")
_TENDED = ("claim", "attempt", "lease")
_TENDING = (
    "autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay"
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in statements(revision, connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    for name in _INDEXES:
        connection.exec_driver_sql(f"DROP INDEX shipper_outbox_{name}")
    if connection.dialect.name == "postgresql":
        for name in _TENDED:
            connection.exec_driver_sql(f"ALTER TABLE shipper_{name} RESET ({_TENDING})")

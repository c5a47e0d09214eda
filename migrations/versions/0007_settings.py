"""PostgreSQL's trigger works the same whatever a session sets, and also while rows are loaded."""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for statement in statements(revision, connection.dialect.name):
            connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    # The new function stays: the old one read texts by a setting, which was a fault.
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE shipper_outbox ENABLE TRIGGER shipper_outbox_write")

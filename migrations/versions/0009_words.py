"""The number of tries and reroutes of an event, and when a daemon was last seen."""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for statement in statements(revision, connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    # SQLite has DROP COLUMN only since 3.35; there a later step drops the whole table. Until then
    # the column stays, because the trigger would fail without it.
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP TRIGGER shipper_outbox_immutable ON shipper_outbox")
        connection.exec_driver_sql(
            "ALTER TABLE shipper_outbox DROP COLUMN tries, DROP COLUMN reroutes"
        )
        connection.exec_driver_sql("ALTER TABLE shipper_destination DROP COLUMN recalls")
        connection.exec_driver_sql("ALTER TABLE shipper_lease DROP COLUMN ttl")

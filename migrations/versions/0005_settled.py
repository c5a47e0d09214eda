"""The watermark: up to which id the order of commits is known, for a daemon that starts."""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for statement in statements(revision, connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    # SQLite has DROP COLUMN only since 3.35; there a later step drops the whole table.
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE shipper_lease DROP COLUMN settled")

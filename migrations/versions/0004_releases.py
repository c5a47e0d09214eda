"""A counter of releases: each release asks for a probe, even if it changes no row."""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for statement in statements(revision, connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    # SQLite has DROP COLUMN only since 3.35; there the next step drops the whole table.
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE shipper_destination DROP COLUMN releases")

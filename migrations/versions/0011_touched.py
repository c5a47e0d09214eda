"""The lanes that operators have touched: the daemon looks again at these lanes only."""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for statement in statements(revision, connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    op.get_bind().exec_driver_sql("DROP TABLE shipper_touched")

"""On SQLite only the database gives an event its id, as on PostgreSQL."""

from alembic import op

from shipper.store.schema.ddl import statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TRIGGERS = ("shipper_outbox_refuse", "shipper_outbox_immutable")


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for statement in statements(revision, "sqlite"):
            connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        before = statements("0001", "sqlite")
        for name in _TRIGGERS:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
            [statement] = [one for one in before if f"CREATE TRIGGER {name}" in one]
            connection.exec_driver_sql(statement)

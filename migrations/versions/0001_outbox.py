"""The outbox, its history, and shipper's other tables. The DDL is in `ddl/`, as SQL."""

from alembic import op

from shipper.errors import UsageError
from shipper.store.schema.ddl import statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UNDELIVERED = "SELECT EXISTS (SELECT 1 FROM shipper_outbox WHERE status IN ('pending', 'dead'))"
_TABLES = ("outbox", "insert_guard", "attempt", "claim", "destination", "hold", "lease")
_FUNCTIONS = ("shipper_outbox_write", "shipper_outbox_immutable")


def upgrade() -> None:
    connection = op.get_bind()
    for statement in statements(revision, connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    config = op.get_context().config
    force = config is not None and config.attributes.get("discard_undelivered", False)
    if not force and connection.exec_driver_sql(_UNDELIVERED).scalar():
        raise UsageError("the outbox holds events that were not delivered; nothing was dropped")
    for name in _TABLES:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS shipper_{name}")
    if connection.dialect.name == "postgresql":
        for name in _FUNCTIONS:
            connection.exec_driver_sql(f"DROP FUNCTION {name}()")

"""How Alembic reaches the outbox: by the connection that `migrate` gives it, and only our tables.

It must never see a table of the application: the database belongs to the application.
"""

from alembic import context
from sqlalchemy import Connection

from shipper.store.schema.revisions import VERSION_TABLE
from shipper.store.schema.tables import compared, metadata


def run_migrations(connection: Connection) -> None:
    """Bring the database up or down, in the transaction that the connection is in."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=connection.dialect.name == "sqlite",
        include_object=lambda item, name, *_: compared(item, name, connection.dialect.name),
    )
    with context.begin_transaction():
        context.run_migrations()


run_migrations(context.config.attributes["connection"])

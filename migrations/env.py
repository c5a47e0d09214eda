"""How Alembic reaches the outbox: over the connection that it is handed, and only to our tables.

It must never see a table of the application's: the database belongs to it, not to us.
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

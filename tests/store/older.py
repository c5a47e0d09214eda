"""An outbox as an older shipper has left it."""

from sqlalchemy import Engine

from shipper.store.schema.ddl import statements
from shipper.store.schema.revisions import REVISIONS, VERSION_TABLE


def make(engine: Engine, revision: str) -> None:
    """Make an empty outbox of that revision in a database that has none."""
    with engine.begin() as tx:
        for one in REVISIONS[: REVISIONS.index(revision) + 1]:
            for statement in statements(one, engine.dialect.name):
                tx.exec_driver_sql(statement)
        tx.exec_driver_sql(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) PRIMARY KEY)")
        tx.exec_driver_sql(f"INSERT INTO {VERSION_TABLE} VALUES ('{revision}')")

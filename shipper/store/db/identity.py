"""Which outbox an engine leads to, whatever its address.

A reload asks this: if the outbox is the same, the daemon keeps it. Address, user and password don't
show it. Reads the catalog only.
"""

from typing import TypeAlias

from sqlalchemy import Engine, text

from shipper.errors import AccessDenied
from shipper.store.db.dialect import dialect_of, pick
from shipper.store.db.postgres.catalog import CLUSTER
from shipper.store.db.transactions import reading
from shipper.system.files import followed

Identity: TypeAlias = tuple[object, ...]

_TABLE = text(
    "SELECT oid AS database, CAST(CAST('shipper_lease' AS regclass) AS oid) AS lease"
    " FROM pg_database WHERE datname = current_database()"
)


def identity(engine: Engine) -> Identity:
    """Return a value that only the same outbox has; raises what `translating` makes of a failure.

    For an SQLite file it is the path of the file, beside which the lock lies.
    """
    find = pick(dialect_of(engine), sqlite=_of_file, postgresql=_of_server)
    return find(engine)


def _of_file(engine: Engine) -> Identity:
    return (followed(engine.get_execution_options()["file"]),)


def _of_server(engine: Engine) -> Identity:
    with reading(engine) as connection:
        row = connection.execute(_TABLE).one()
    return (_system(engine), row.database, row.lease)


def _system(engine: Engine) -> int | None:
    try:
        with reading(engine) as connection:
            found: int = connection.execute(text(CLUSTER)).scalar_one()
    except AccessDenied:
        return None  # an administrator has revoked the function
    return found

"""Which outbox it is that an engine leads to, whatever name leads there.

A reload asks: where it stays the same, the daemon keeps it. An address, a user or a password says
nothing about that. Reads the catalog only.
"""

from typing import TypeAlias

from sqlalchemy import Engine, text

from shipper.errors import AccessDenied
from shipper.store.db.transactions import reading
from shipper.system.files import followed

Identity: TypeAlias = tuple[object, ...]

# A server, and also a standby of it, which may be in its place by now.
_SYSTEM = text("SELECT system_identifier FROM pg_control_system()")
_TABLE = text(
    "SELECT oid AS database, CAST(CAST('shipper_lease' AS regclass) AS oid) AS lease"
    " FROM pg_database WHERE datname = current_database()"
)


def identity(engine: Engine) -> Identity:
    """Return what only the same outbox has; raises what `translating` makes of a failure.

    Of an SQLite file it is the path that its lock lies beside.
    """
    if engine.dialect.name == "sqlite":
        return (followed(engine.get_execution_options()["file"]),)
    with reading(engine) as connection:
        row = connection.execute(_TABLE).one()
    return (_system(engine), row.database, row.lease)


def _system(engine: Engine) -> int | None:
    try:
        with reading(engine) as connection:
            found: int = connection.execute(_SYSTEM).scalar_one()
    except AccessDenied:
        return None  # a function that somebody has kept to himself
    return found

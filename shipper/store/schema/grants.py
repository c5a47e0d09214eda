"""The rights that an application needs to write events, and no others.

It must never grant more than INSERT on the four columns of the application, and SELECT on
`event_id`, which ON CONFLICT and RETURNING need.
"""

from sqlalchemy import Engine, text

from shipper.errors import SchemaError, UsageError
from shipper.store.db.transactions import glancing

# NAMEDATALEN: PostgreSQL would shorten a longer name, and grant to another role.
_MAX_BYTES = 63

SQLITE = """\
SQLite has no roles: a user who can write the file can write the outbox. Let the application's user
and the daemon's user share a group, and give that group the directory (mode 2770, without the
sticky bit) and the file (mode 0660); the -wal and -shm files inherit from it."""


def statements(role: str, schema: str = "public") -> list[str]:
    """Return the GRANTs for an application's role, in order; raises UsageError for a wrong name.

    `schema` is the schema of the outbox, see `schema_of`.
    """
    table = f"{_quoted(schema)}.shipper_outbox"
    to = f"TO {_quoted(role)}"
    return [
        f"GRANT USAGE ON SCHEMA {_quoted(schema)} {to}",
        f"GRANT INSERT (payload, destination, ordering_key, event_id) ON {table} {to}",
        f"GRANT SELECT (event_id) ON {table} {to}",
    ]


def schema_of(engine: Engine) -> str:
    """Return the PostgreSQL schema that the outbox is in; raises SchemaError if there is none."""
    query = text(
        "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE pg_class.oid = to_regclass('shipper_outbox')"
    )
    with glancing(engine) as connection:
        name: str | None = connection.scalar(query)
    if name is None:
        raise SchemaError("no outbox in this database", "run: shipper db upgrade")
    return name


def _quoted(name: str) -> str:
    if not name or "\0" in name or len(name.encode()) > _MAX_BYTES:
        raise UsageError("the name of a role has 1 to 63 bytes and no NUL")
    return '"' + name.replace('"', '""') + '"'

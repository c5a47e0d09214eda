"""Make the outboxes to ship from, fill them in bulk, copy them for each run, and drop them.

Events are written to the real table with its triggers, in one transaction, and that time is never
measured. An outbox is filled once and copied for each run, so that every run finds the same.
"""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, make_url

from benchmarks.processes import cpu_seconds_of_family, parent_of
from benchmarks.workload import Workload
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import sqlite_library
from shipper.store.db.transactions import writing
from shipper.store.upgrade.migrate import upgrade

_CHUNK = 10_000
_AS_DELIVERED = "INSERT INTO shipper_destination (name, delivered) VALUES ('default', {0})"
_GIVEN_IN_FILE = "UPDATE shipper_lease SET delivery = {0}"
_GIVEN = "SELECT setval('shipper_delivery', {0} + 1, false)"


class Databases(ABC):
    """One kind of database, and the outboxes that the benchmark made in it."""

    name: str
    version: str

    @abstractmethod
    def outbox(self) -> str:
        """Make an empty outbox and return its URL."""

    @abstractmethod
    def copy(self, url: str) -> str:
        """Copy an outbox that isn't in use and return the URL of the copy."""

    @abstractmethod
    def drop(self, url: str) -> None:
        """Remove an outbox."""

    @abstractmethod
    def fill(self, url: str, workload: Workload, *, delivered: bool = False) -> None:
        """Write a workload's events; with `delivered`, as delivered ones, with their counters."""

    @abstractmethod
    def cpu_seconds(self) -> float | None:
        """Return the CPU time of the database's own processes; None if it isn't known."""

    @abstractmethod
    def size(self, url: str) -> int:
        """Return how many bytes of disk an outbox takes."""

    @contextmanager
    def filled(self, workload: Workload, *, delivered: bool = False) -> Iterator[str]:
        """Yield the URL of an outbox with a workload in it, to copy from."""
        url = self.outbox()
        try:
            self.fill(url, workload, delivered=delivered)
            yield url
        finally:
            self.drop(url)

    @contextmanager
    def plain(self) -> Iterator[str]:
        """Yield the URL of a database for another program's table."""
        url = self.outbox()
        try:
            yield url
        finally:
            self.drop(url)

    @contextmanager
    def copied(self, url: str) -> Iterator[str]:
        """Yield the URL of a copy."""
        copy = self.copy(url)
        try:
            yield copy
        finally:
            self.drop(copy)


class SqliteFiles(Databases):
    """Files in a directory; the daemon itself is the database."""

    name = "SQLite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count()
        self.version = " ".join(sqlite_library()[:2])

    def _new(self) -> Path:
        return self._directory / f"outbox-{next(self._numbers)}" / "shop.db"

    def outbox(self) -> str:
        """Make an empty outbox and return its URL."""
        url = f"sqlite:///{self._new()}"
        _migrate(url)
        return url

    def copy(self, url: str) -> str:
        """Copy an outbox that isn't in use and return the URL of the copy."""
        path = self._new()
        path.parent.mkdir()
        shutil.copyfile(_path(url), path)
        _sync(path)
        return f"sqlite:///{path}"

    def drop(self, url: str) -> None:
        """Remove an outbox."""
        shutil.rmtree(_path(url).parent)

    def fill(self, url: str, workload: Workload, *, delivered: bool = False) -> None:
        """Write a workload's events; with `delivered`, as delivered ones, with their counters."""
        names, marks = "payload", "?"
        if delivered:
            names = "payload, status, delivered_at, delivery_number"
            marks = "?, 'delivered', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?"
        statement = f"INSERT INTO shipper_outbox ({names}) VALUES ({marks})"
        engine = open_engine(url)
        with writing(engine) as tx:
            # Millions of random ids are sorted in this cache, and not on the disk.
            tx.exec_driver_sql("PRAGMA cache_size = -2000000")
            for rows in _chunks(workload, delivered=delivered):
                tx.exec_driver_sql(statement, rows)
            if delivered:
                for counter in (_AS_DELIVERED, _GIVEN_IN_FILE):
                    tx.exec_driver_sql(counter.format(workload.events))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
        engine.dispose()

    def cpu_seconds(self) -> float | None:
        """Return None: SQLite runs inside the daemon."""
        return None

    def size(self, url: str) -> int:
        """Return how many bytes of disk an outbox takes, with its WAL."""
        return sum(path.stat().st_size for path in _path(url).parent.glob("shop.db*"))


class PostgresDatabases(Databases):
    """Databases on one server."""

    name = "Postgres"

    def __init__(self, server: URL) -> None:
        self._server = server
        self._numbers = count()
        self.version = str(self._ask("SHOW server_version")).split(" ")[0]
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            if self._ask(f"SHOW {setting}") != "on":
                raise RuntimeError(f"PostgreSQL runs without {setting}: the figures need it")
        self._postmaster = self._find_postmaster()

    @property
    def server(self) -> str:
        """Return the URL of the server."""
        return self._server.render_as_string(hide_password=False)

    def outbox(self) -> str:
        """Make an empty outbox and return its URL."""
        url = self._create("template0")
        _migrate(url)
        return url

    def copy(self, url: str) -> str:
        """Copy an outbox that isn't in use and return the URL of the copy."""
        copy = self._create(str(make_url(url).database))
        self._ask("CHECKPOINT")
        return copy

    def drop(self, url: str) -> None:
        """Remove an outbox."""
        self._ask(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def fill(self, url: str, workload: Workload, *, delivered: bool = False) -> None:
        """Write a workload's events; with `delivered`, as delivered ones, with their counters."""
        names = "payload"
        if delivered:
            names = "payload, delivery_number, status, delivered_at"
        engine = create_engine(make_url(url))
        raw = engine.raw_connection()
        connection: Any = raw.driver_connection
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY shipper_outbox ({names}) FROM STDIN") as copy:
                for rows in _chunks(workload, delivered=delivered):
                    for row in rows:
                        copy.write_row((*row, "delivered", "now") if delivered else row)
            if delivered:
                for counter in (_AS_DELIVERED, _GIVEN):
                    cursor.execute(counter.format(workload.events))
        connection.commit()
        raw.close()
        engine.dispose()
        self.tidy(url)

    def tidy(self, url: str) -> None:
        """Do the upkeep that a server does by itself while a backlog grows over days."""
        engine = create_engine(make_url(url), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")
        engine.dispose()

    def cpu_seconds(self) -> float | None:
        """Return the CPU time of all the server's processes; None if it isn't on this machine."""
        return None if self._postmaster is None else cpu_seconds_of_family(self._postmaster)

    def size(self, url: str) -> int:
        """Return how many bytes of disk an outbox takes."""
        return int(self._ask(f"SELECT pg_database_size('{make_url(url).database}')"))

    def _create(self, template: str) -> str:
        name = f"shipper_benchmark_{os.getpid()}_{next(self._numbers)}"
        self._ask(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._server.set(database=name).render_as_string(hide_password=False)

    def _find_postmaster(self) -> int | None:
        """Return the parent of the connection's process, if that is a process of this machine."""
        engine = create_engine(self._server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            pid = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            found = None
            with suppress(OSError):
                if "postgres" in Path(f"/proc/{pid}/comm").read_text():
                    found = parent_of(pid)
        engine.dispose()
        return found

    def _ask(self, statement: str) -> Any:
        engine = create_engine(self._server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            value = result.scalar() if result.returns_rows else None
        engine.dispose()
        return value


def _migrate(url: str) -> None:
    engine = open_engine(url, create=True)
    upgrade(engine)
    engine.dispose()


def _path(url: str) -> Path:
    return Path(str(make_url(url).database))


def _sync(path: Path) -> None:
    """Write everything to the disk now, so that it doesn't disturb a measurement later."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chunks(workload: Workload, *, delivered: bool) -> Iterator[list[tuple[Any, ...]]]:
    rows: Iterable[tuple[Any, ...]] = (
        (workload.payload(number), number + 1) if delivered else (workload.payload(number),)
        for number in range(workload.events)
    )
    rows = iter(rows)
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk

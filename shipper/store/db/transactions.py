"""The kinds of transaction. Everything in `store` that runs SQL does so inside one of them.

All turn a driver's failure into one that somebody can act on. None may be open while anything but
the database is waited for.

They share a connection that is kept from one to the next: to take it from the pool each time and
give it back would cost as much as a small turn's statements. One that met a failure is closed.
"""

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, Engine

from shipper.errors import LeaseLost
from shipper.store.db.failures import translating
from shipper.store.db.sqlite import header, write_lock
from shipper.store.db.sqlite.place import second_name
from shipper.store.db.sqlite.wal_files import Beside

_CANCEL_WITHIN = 1.0

Mode: TypeAlias = Literal["write", "read", "glance"]


class Kept:
    """The connection of an engine that waits for the next transaction; None while one is open.

    `file` is SQLite's: who has it open doesn't notice that another one lies in its place, and would
    wait for ever for what is written into that.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._connection: Connection | None = None
        self._file = file
        self._opened: tuple[int, int] | None = None
        self._beside = None if file is None else Beside(file)
        self._also: list[Callable[[], None]] = []
        self._told_of_names = False
        self.busy: Any = None
        """The driver's own connection, while a transaction of ours is open on it."""
        self.committing: object | None = None
        """Something else for each COMMIT that is under way."""

    def look_also(self, look: Callable[[], None]) -> None:
        """Have something else looked at before each transaction; what it raises ends that."""
        self._also.append(look)

    def take(self, engine: Engine) -> Connection:
        """Return the connection, or another one where it is in use.

        Raises LeaseLost where the file isn't the one it was: whatever we know is of the other; and
        what `Beside.save` raises where somebody has removed what lies beside it.
        """
        if self._file is not None:
            self._look_at(self._file, engine.get_execution_options()["told"])
        for look in self._also:
            look()
        connection, self._connection = self._connection, None
        if connection is None:
            return engine.connect()
        if self._file is None and not _is_alive(connection):
            close(connection)
            return engine.connect()
        if self._beside is not None and not self._beside.is_intact():
            self._connection = connection  # whatever comes of it, it has the removed WAL open
            told = engine.get_execution_options()["told"]
            self._beside.save(connection.connection.driver_connection, told)
            self._connection = None
        return connection

    def _look_at(self, file: Path, told: Callable[[str], None]) -> None:
        try:
            found = file.stat()
        except OSError:
            self.drop()
            return  # whoever opens it anew says what is wrong
        if (has_names := found.st_nlink > 1) is not self._told_of_names:
            self._told_of_names = has_names
            if has_names:
                told(second_name(file, found.st_nlink))
        identity = (found.st_dev, found.st_ino)
        self._opened = self._opened or identity
        if identity != self._opened:
            aside = "" if self._beside is None else self._beside.set_aside()
            self.drop()
            raise LeaseLost(
                f"another file lies in the place of {file.name} than the one that was open"
                + (f", whose -wal is kept as {aside}" if aside else ""),
                "restart whoever has the one before open (the application): what is committed there"
                " is lost. Before a file is replaced, stop all who have it open, shipper too",
            )

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next one who asks."""
        if self._connection is None:
            self._connection = connection
            if self._beside is not None:
                self._beside.remember()
        else:
            close(connection)

    def end(self, connection: Connection) -> None:
        """Close a connection that was taken and is of no use any more."""
        if self._beside is not None:
            self._beside.protect()
        close(connection)
        if self._beside is not None and self._connection is None:
            self._beside.forget()

    def drop(self) -> None:
        """Close the connection; the next one who asks gets a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.end(connection)


def _is_alive(connection: Connection) -> bool:
    """Return False where a server, or what stands between, has hung up while nobody asked.

    It says nothing while it isn't asked, so where something can be read there is a reason to ask.
    """
    driver: Any = connection.connection.driver_connection
    if driver.closed:
        return False
    silent = select.poll()
    silent.register(driver.fileno(), select.POLLIN)
    if not silent.poll(0):
        return True
    # An empty statement begins no transaction; libpq notes what becomes of the connection.
    driver.pgconn.exec_(b"")
    return not driver.closed


def interrupt(engine: Engine) -> None:
    """Have what this engine's connection is doing just now fail, from another thread.

    It says nothing of what is done next: whoever goes on has to be told so.
    """
    kept: Kept = engine.get_execution_options()["kept"]
    driver = kept.busy
    if driver is None:
        return
    with suppress(Exception):  # it may be over, or closed, by now
        if engine.dialect.name == "sqlite":
            driver.interrupt()
        else:
            driver.cancel_safe(timeout=_CANCEL_WITHIN)


def hang_up(engine: Engine) -> None:
    """Have a server's connection that is in use just now end, from another thread; not SQLite's.

    Whoever waits for an answer is told that it was lost, whatever the server does.
    """
    kept: Kept = engine.get_execution_options()["kept"]
    driver = kept.busy
    if driver is None or engine.dialect.name == "sqlite":
        return
    with suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def committing(engine: Engine) -> object | None:
    """Return the COMMIT that is under way just now, to tell it from the next one; or None.

    A COMMIT that is interrupted is one all the same where PostgreSQL has only waited for a standby.
    """
    kept: Kept = engine.get_execution_options()["kept"]
    return kept.committing


def let_go(engine: Engine) -> None:
    """Close an SQLite file until it is looked at again: for whoever looks beside the one who ships.

    Open, it would keep that one from saving a WAL that somebody removes.
    """
    if engine.dialect.name == "sqlite":
        engine.dispose()


def close(connection: Connection) -> None:
    """Close a connection for good: another would meet what this one was in."""
    connection.invalidate()
    connection.close()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that commits at its end; on SQLite it has the write lock from the start.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(engine), _connected(engine, "write") as connection, connection.begin():
        yield connection
        engine.get_execution_options()["kept"].committing = object()


@contextmanager
def glancing(engine: Engine) -> Iterator[Connection]:
    """Open a connection for single statements that each look for themselves: the cheapest read.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(engine), _connected(engine, "glance") as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only looks, with one view of the data; it never waits for a writer.

    Raises StoreUnavailable, AccessDenied and SchemaError.
    """
    with translating(engine), _connected(engine, "read") as connection:
        yield connection


@contextmanager
def _connected(engine: Engine, mode: Mode) -> Iterator[Connection]:
    kept: Kept = engine.get_execution_options()["kept"]
    connection = kept.take(engine)
    try:
        _set(connection, mode)
        kept.busy = connection.connection.driver_connection
        yield connection
        connection.rollback()  # what only looked has nothing to keep
    except BaseException:
        kept.busy = kept.committing = None
        kept.end(connection)
        raise
    kept.busy = kept.committing = None
    kept.give_back(connection)


def _make_ready(connection: Connection, file: Path, told: header.Told) -> None:
    """See to it, once for each connection of the driver, that SQLite's file may be written."""
    if not connection.info.get("ready"):
        driver = connection.connection.driver_connection
        connection.info["ready"] = header.make_ready(driver, file, told)


def _set(connection: Connection, mode: Mode) -> None:
    """Tell `engine` how the next transaction begins; see there."""
    options = connection.get_execution_options()
    if options.get("mode") != mode:
        if mode == "write" and options.get("file") is not None:
            _make_ready(connection, options["file"], options["told"])
        connection.execution_options(mode=mode)
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "postgresql":
            driver.autocommit = mode == "glance"
        else:
            write_lock.be_patient(driver, options["patience"], asking=mode == "write")

"""How a connection to an SQLite file is opened, and what is set on it.

It decides the settings that durability and patience depend on. It must never create a database by
accident, and never open a WAL over a network.
"""

import importlib
import os
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from shipper.errors import AccessDenied, ConfigError, SchemaError
from shipper.store.db.sqlite.before_opening import (
    refuse_elsewhere,
    refuse_mixed,
    refuse_removed,
    refuse_without,
)
from shipper.store.db.sqlite.place import refuse_unusable_file, refuse_unusable_place
from shipper.store.db.sqlite.write_lock import Begin
from shipper.system.files import Directory, Untrusted
from shipper.system.installation import with_packages

FORM: Final = "sqlite:////var/lib/shop/shop.db"
# The first version with UPDATE ... FROM (sqlite.org/releaselog/3_33_0.html).
_OLDEST_SQLITE = (3, 33)
_DEFENSIVE = 1010  # SQLITE_DBCONFIG_DEFENSIVE


class SqliteLibrary(NamedTuple):
    """The SQLite library that we use, and whether its WAL-reset bug is fixed."""

    name: str
    version: str
    wal_reset_safe: bool


def sqlite_library() -> SqliteLibrary:
    """Return which SQLite we use: that of pysqlite3 if it is newer than Python's own."""
    module = _sqlite_module()
    version: str = module.sqlite_version
    name = module.__name__.partition(".")[0]
    return SqliteLibrary(name, version, _wal_reset_safe(_numbers(version)))


def open_file(url: URL, *, patience: float, create: bool, notify: Callable[[str], None]) -> Engine:
    """Return an engine of the file that a URL names; with `create` a missing file is made first.

    `patience` is in seconds: how long a transaction waits for another process's write lock. Before
    shipper changes a setting in the file, it calls `notify` with a sentence about it.

    Raises ConfigError for a URL that names no file, SchemaError for a missing file and for a
    library that is too old, and AccessDenied.
    """
    if url.database in {None, "", ":memory:"} or url.query:
        raise ConfigError(["database.url: must name a file and no options"], f"write {FORM}")
    path = Path(str(url.database)).absolute()
    if create and not path.exists():
        refuse_unusable_place(path)
        create_sqlite_file(path)
    refuse_unusable_file(path)
    _refuse_old_library(sqlite_library().version)
    engine = _engine(lambda: connect_sqlite(path, patience), patience, notify)
    engine.update_execution_options(file=path)
    return engine


def open_draft(path: Path, opened: Callable[[], None]) -> Engine:
    """Return an engine of a file that no other process has open; see `connect_draft`."""
    return _engine(lambda: connect_draft(path, opened), 0.0, lambda _: None)


def _engine(creator: Callable[[], Any], patience: float, notify: Callable[[str], None]) -> Engine:
    engine = create_engine(
        "sqlite://",
        hide_parameters=True,  # parameters can be payloads, and errors end up in logs
        module=_sqlite_module(),
        creator=creator,
        # The pool closes a connection that is given back. If one stayed open, `transactions` could
        # not save a WAL that another process has removed.
        poolclass=NullPool,
    )
    event.listen(engine, "begin", Begin(_sqlite_module(), patience))
    engine.update_execution_options(patience=patience, notify=notify)
    return engine


def quoted(path: str) -> str:
    """Return a file's path, written for a URL."""
    # Only these two characters have a meaning there.
    return path.replace("%", "%25").replace("?", "%3F")


def create_sqlite_file(path: Path) -> None:
    """Make an empty file that application and daemon can share, and its directory if it is missing.

    The directory gets the mode 2770 without the sticky bit, the file 0660, whatever the umask is.
    Both get their mode before SQLite opens the file, because -wal and -shm inherit from it
    (measured: research, S11 and S12). Raises SchemaError if the file can't be made there,
    AccessDenied if shipper isn't allowed to make it.
    """
    try:
        with _made_directory(path.parent) as directory:
            os.close(directory.make(path.name, 0o660))
    except Untrusted as error:
        raise AccessDenied(f"{path}: {error.filename} {error.strerror}") from None
    except FileExistsError:
        raise SchemaError(f"{path} is there already") from None
    except FileNotFoundError:
        raise SchemaError(f"no directory for {path}", f"make {path.parent.parent} first") from None
    except NotADirectoryError:
        raise SchemaError(f"{path.parent} is not a directory") from None
    except PermissionError:
        raise AccessDenied(
            f"not allowed to create {path}", f"give this user the right to write in {path.parent}"
        ) from None


def _made_directory(path: Path) -> Directory:
    with Directory(path.parent) as above:
        try:
            return above.make_directory(path.name, 0o2770)
        except FileExistsError:
            return Directory(path)


def _refuse_old_library(version: str) -> None:
    if _numbers(version) < _OLDEST_SQLITE:
        raise SchemaError(
            f"the SQLite library is {version}; {'.'.join(map(str, _OLDEST_SQLITE))} is needed",
            f"take a newer Python, or: {with_packages('pysqlite3')}",
        )


def connect_sqlite(path: Path, busy_timeout: float) -> Any:
    """Return the driver's own connection to a file that exists; `busy_timeout` is in seconds.

    Raises SchemaError, AccessDenied, StoreUnavailable if opening the file now could damage it, and
    the driver's errors.
    """
    refuse_unusable_file(path)
    refuse_removed(path)
    refuse_mixed(path)
    suspects = refuse_elsewhere(path, busy_timeout)
    # mode=rw: a file that was removed must not come back empty.
    target = f"file://{quote(os.fspath(path.absolute()))}?mode=rw"
    connection = _sqlite_module().connect(
        target, uri=True, timeout=busy_timeout, isolation_level=None, check_same_thread=False
    )
    try:
        _set_up_sqlite(connection)
        refuse_without(connection, path, suspects)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_draft(path: Path, looked: Callable[[], None]) -> Any:
    """Return the driver's own connection to a file that no other process has open.

    It takes no lock, so the file can be where an outbox can't be: on a network file system. When
    the file is open, and before any read or write, it calls `looked` and raises what that raises.
    """
    target = f"file://{quote(os.fspath(path.absolute()))}?mode=rw&nolock=1"
    connection = _sqlite_module().connect(
        target, uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        looked()
        _set_up_sqlite(connection)
        connection.execute("PRAGMA journal_mode = MEMORY").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up_sqlite(connection: Any) -> None:
    for pragma in ("synchronous = FULL", "temp_store = MEMORY", "mmap_size = 0",
                   "cache_size = -8192", "foreign_keys = OFF",
                   # Other programs write the file: SQLite checks its pages
                   # (sqlite.org/security.html).
                   "cell_size_check = ON"):  # fmt: skip
        connection.execute(f"PRAGMA {pragma}")
    if _may_distrust_schemas():
        # Functions in the file's schema must do no harm.
        connection.execute("PRAGMA trusted_schema = OFF")
    if hasattr(connection, "setconfig"):
        connection.setconfig(_DEFENSIVE, True)
    if not sqlite_library().wal_reset_safe:
        # The bug needs a checkpoint beside a writer: see `upkeep.sqlite_file`.
        connection.execute("PRAGMA wal_autocheckpoint = 0")


@cache
def _may_distrust_schemas() -> bool:
    """Return whether a schema that isn't trusted can call the JSON functions, as ours does.

    In some versions of the library (seen in 3.40.1) it can't, and every INSERT would fail.
    """
    module = _sqlite_module()
    with closing(module.connect(":memory:")) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        try:
            connection.execute("CREATE TABLE t (payload TEXT CHECK (json_valid(payload)))")
        except module.Error:
            return False
    return True


@cache
def _sqlite_module() -> ModuleType:
    standard = importlib.import_module("sqlite3.dbapi2")
    try:
        bundled = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return standard
    newer = _numbers(bundled.sqlite_version) > _numbers(standard.sqlite_version)
    return bundled if newer else standard


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _wal_reset_safe(version: tuple[int, ...]) -> bool:
    # sqlite.org/changes: fixed in 3.51.3, and in two older branches.
    return (
        version >= (3, 51, 3)
        or (3, 50, 7) <= version < (3, 51)
        or (3, 44, 6) <= version < (3, 45)
    )  # fmt: skip

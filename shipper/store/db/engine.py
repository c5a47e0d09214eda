"""How a connection is opened.

It decides the settings that durability and patience hang on. It must never create a database by
accident, never open SQLite's WAL over a network, and never show a URL: it may hold a password.
"""

import importlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

from shipper.errors import AccessDenied, ConfigError, SchemaError
from shipper.store.db.postgres import opening
from shipper.store.db.sqlite.place import refuse_unusable_file, refuse_unusable_place
from shipper.store.db.sqlite.wal_files import (
    refuse_elsewhere,
    refuse_mixed,
    refuse_removed,
    refuse_without,
)
from shipper.store.db.sqlite.write_lock import Begin
from shipper.store.db.transactions import Kept
from shipper.system.files import Directory, Untrusted, followed
from shipper.system.installation import with_packages

# UPDATE ... FROM came with it (sqlite.org/releaselog/3_33_0.html).
_OLDEST_SQLITE = (3, 33)
_DEFENSIVE = 1010  # SQLITE_DBCONFIG_DEFENSIVE
_FORMS = "write sqlite:////var/lib/shop/shop.db or postgresql://user@host/db"


class SqliteLibrary(NamedTuple):
    """The SQLite that reads and writes for us, and whether it has the WAL-reset bug mended."""

    name: str
    version: str
    wal_reset_safe: bool


def sqlite_library() -> SqliteLibrary:
    """Return which SQLite we use: pysqlite3 where it is newer than the one Python comes with."""
    module = _sqlite_module()
    version: str = module.sqlite_version
    name = module.__name__.partition(".")[0]
    return SqliteLibrary(name, version, _wal_reset_safe(_numbers(version)))


def open_engine(
    url: str,
    *,
    busy_timeout: float = 5.0,
    create: bool = False,
    told: Callable[[str], None] = lambda _: None,
    renewed: Callable[[], str] | None = None,
    frozen: float = 60.0,
) -> Engine:
    """Return an engine whose connection is opened at first use; use it through `transactions`.

    `busy_timeout` is in seconds: how long to wait for another process's write lock on SQLite, or
    a third user of a server's engine. With `create` a missing SQLite file is made first. `told` is
    what is changed in an SQLite file before it is written, for a person to read. `renewed` says the
    URL again, before each connection to a server: its password may be another one by then. A server
    ends our transaction where we stop within it for `frozen` seconds.

    Raises ConfigError for a URL that isn't one of ours, SchemaError for a missing file and for an
    SQLite library that is too old.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(["database.url: is not a URL"], _FORMS) from None
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed, busy_timeout, told, create=create)
        case "postgresql" | "postgres":
            pool = _one_connection(busy_timeout)
            return _keeping(opening.open_server(parsed, renewed, pool, frozen), Kept())
    raise ConfigError(["database.url: must be SQLite or PostgreSQL"], _FORMS)


def database_path(url: str) -> Path | None:
    """Return the file of an SQLite URL, None for any other."""
    parsed = make_url(url)
    # Resolved, so that whatever name it is opened by, its lock is the same file.
    return followed(Path(str(parsed.database))) if parsed.get_backend_name() == "sqlite" else None


def quoted(path: str) -> str:
    """Return a file's path as it stands in a URL."""
    # Only these two mean something there.
    return path.replace("%", "%25").replace("?", "%3F")


def describe(engine: Engine) -> str:
    """Return which database and which library it is, for a log line; no user and no password."""
    if engine.dialect.name == "sqlite":
        return " ".join(sqlite_library()[:2])
    server: opening.Server = engine.get_execution_options()["server"]
    return f"postgresql {server.place}"


def move(engine: Engine, url: str) -> None:
    """Have a server's connections made at another address; it must lead to the same database.

    The one that is open stays until the engine is disposed of.
    """
    if engine.dialect.name == "postgresql":
        server: opening.Server = engine.get_execution_options()["server"]
        server.move(url)


def create_sqlite_file(path: Path) -> None:
    """Make an empty file that application and daemon can share, with its directory if need be.

    Both get their modes before SQLite sees the file, because -wal and -shm inherit from it:
    2770 without the sticky bit, and 0660, whatever the umask (measured: research, S11 and S12).
    Raises SchemaError when there is no place for it, AccessDenied when it isn't allowed.
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


# --- SQLite ---------------------------------------------------------------------------------------


def _open_sqlite(
    url: URL, busy_timeout: float, told: Callable[[str], None], *, create: bool
) -> Engine:
    if url.database in {None, "", ":memory:"} or url.query:
        raise ConfigError(["database.url: must name a file and no options"], _FORMS)
    path = Path(str(url.database)).absolute()
    if create and not path.exists():
        refuse_unusable_place(path)
        create_sqlite_file(path)
    refuse_unusable_file(path)
    _refuse_old_library(sqlite_library().version)
    engine = _sqlite_engine(path, lambda: connect_sqlite(path, busy_timeout), busy_timeout, told)
    engine.update_execution_options(file=path)
    return engine


def open_draft(path: Path, looked: Callable[[], None]) -> Engine:
    """Return an engine of a file that nobody else has; see `connect_draft`."""
    return _sqlite_engine(path, lambda: connect_draft(path, looked), 0.0, lambda _: None)


def _sqlite_engine(
    path: Path, creator: Callable[[], Any], patience: float, told: Callable[[str], None]
) -> Engine:
    engine = create_engine(
        "sqlite://",
        hide_parameters=True,  # a failed statement's may be payloads, and errors end up in logs
        module=_sqlite_module(),
        creator=creator,
        # What is given back is closed: open, it would keep the one that is kept (see
        # `transactions`) from saving a WAL that somebody removes.
        poolclass=NullPool,
    )
    event.listen(engine, "begin", Begin(_sqlite_module(), patience))
    engine.update_execution_options(patience=patience, told=told)
    return _keeping(engine, Kept(path))


def _refuse_old_library(version: str) -> None:
    if _numbers(version) < _OLDEST_SQLITE:
        raise SchemaError(
            f"the SQLite library is {version}; {'.'.join(map(str, _OLDEST_SQLITE))} is needed",
            f"take a newer Python, or: {with_packages('pysqlite3')}",
        )


def connect_sqlite(path: Path, busy_timeout: float) -> Any:
    """Return the driver's own connection to a file that exists; `busy_timeout` is in seconds.

    Raises SchemaError, AccessDenied, StoreUnavailable where it can't be opened without harm, and
    the driver's errors.
    """
    refuse_unusable_file(path)
    refuse_removed(path)
    refuse_mixed(path)
    suspects = refuse_elsewhere(path, busy_timeout)
    # mode=rw: a file that went away must not come back empty.
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
    """Return the driver's own connection to a file that nobody else has; raises what that raises.

    It takes no lock, so that may lie where an outbox can't: on a network's file system. `looked` is
    called once the file is open, before anything is read of it or written.
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
                   # Others may write the file: what its schema calls must do no harm, and what its
                   # pages say of themselves is checked (sqlite.org/security.html).
                   "trusted_schema = OFF", "cell_size_check = ON"):  # fmt: skip
        connection.execute(f"PRAGMA {pragma}")
    if hasattr(connection, "setconfig"):
        connection.setconfig(_DEFENSIVE, True)
    if not sqlite_library().wal_reset_safe:
        # That would checkpoint beside those who write, as the bug needs it: see `space.checkpoint`.
        connection.execute("PRAGMA wal_autocheckpoint = 0")


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
    # sqlite.org/changes: mended in 3.51.3, and in two older branches.
    return (
        version >= (3, 51, 3)
        or (3, 50, 7) <= version < (3, 51)
        or (3, 44, 6) <= version < (3, 45)
    )  # fmt: skip


def _keeping(engine: Engine, kept: Kept) -> Engine:
    event.listen(engine, "engine_disposed", lambda _: kept.drop())
    engine.update_execution_options(kept=kept)
    return engine


def _one_connection(patience: float) -> dict[str, Any]:
    # One is kept for ever (see `transactions`); the other is for what can't be done in one.
    return {
        "poolclass": QueuePool,
        "pool_size": 1,
        "max_overflow": 1,
        "pool_timeout": patience,
    }

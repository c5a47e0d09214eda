"""How a database is opened: the one function that makes an engine, for every database.

The database's own folder decides how a connection is set up. No message must ever show a URL, which
can hold a password.
"""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from shipper.errors import ConfigError
from shipper.store.db.dialect import DIALECTS, SQLITE, dialect_of, named
from shipper.store.db.kept import keep
from shipper.store.db.sqlite import opening
from shipper.store.db.sqlite.safeguard import FileSafeguard
from shipper.system.files import followed


def open_engine(
    url: str,
    *,
    busy_timeout: float = 5.0,
    create: bool = False,
    notify: Callable[[str], None] = lambda _: None,
    renewed: Callable[[], str] | None = None,
    frozen: float = 60.0,
) -> Engine:
    """Return an engine whose connection is opened at first use; use it through `transactions`.

    `busy_timeout` is in seconds: how long a transaction waits for another process's write lock on
    SQLite, or a third thread for a connection to a server. With `create`, a missing SQLite file is
    made first. Before shipper changes a setting in an SQLite file, it calls `notify` with a
    sentence about it. Before each connection to a server, it calls `renewed` for the URL, because
    the password can have changed. A server ends a transaction of ours if nothing happens in it for
    `frozen` seconds.

    Raises ConfigError for a URL of a database that shipper doesn't know, SchemaError for a missing
    file and for an SQLite library that is too old.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        forms = " or ".join(one.url_form for one in DIALECTS.values())
        raise ConfigError(["database.url: is not a URL"], f"write {forms}") from None
    dialect = named(parsed.get_backend_name())
    engine = dialect.open_engine(
        parsed, patience=busy_timeout, create=create, notify=notify, renewed=renewed, frozen=frozen
    )
    return keep(engine, dialect, dialect.safeguard(engine))


def open_draft(path: Path, opened: Callable[[], None]) -> Engine:
    """Return an engine of an SQLite file that no other process has open; see `connect_draft`."""
    return keep(opening.open_draft(path, opened), SQLITE, FileSafeguard(path, lambda _: None))


def database_path(url: str) -> Path | None:
    """Return the file of an SQLite URL; None for any other URL."""
    parsed = make_url(url)
    if not named(parsed.get_backend_name()).is_file:
        return None
    # Resolved, so that the lock file is the same, by whatever name the database is opened.
    return followed(Path(str(parsed.database)))


def describe(engine: Engine) -> str:
    """Return the database and its library for a log line, without user and password."""
    return dialect_of(engine).describe(engine)


def move(engine: Engine, url: str) -> None:
    """Connect to another address of a server from now on; it must be the same database.

    An open connection stays until the engine is disposed of.
    """
    dialect_of(engine).move(engine, url)

"""A database for the duration of one command: opened, used, closed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from sqlalchemy import Engine

from shipper.store.db.engine import open_engine

Database: TypeAlias = Engine
"""The name of an engine outside of `store`, which alone imports SQLAlchemy."""


@contextmanager
def opened(
    url: str,
    *,
    create: bool = False,
    notify: Callable[[str], None] = lambda _: None,
    renewed: Callable[[], str] | None = None,
) -> Iterator[Database]:
    """Open a database, and close it at the end; with `create`, make a missing SQLite file.

    For `notify` and `renewed` see `open_engine`. Raises what `open_engine` raises. The first
    statement shows whether the database has an outbox.
    """
    engine = open_engine(url, create=create, notify=notify, renewed=renewed)
    try:
        yield engine
    finally:
        engine.dispose()

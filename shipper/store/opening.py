"""A database for the length of one command: opened, used, closed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from sqlalchemy import Engine

from shipper.store.engine import open_engine

Database: TypeAlias = Engine


@contextmanager
def opened(
    url: str, *, create: bool = False, renewed: Callable[[], str] | None = None
) -> Iterator[Database]:
    """Open a database, and close it at the end; with `create` a missing SQLite file is made.

    `renewed` is `open_engine`'s.

    Raises what `open_engine` raises. Whether the outbox is in it shows with the first statement.
    """
    engine = open_engine(url, create=create, renewed=renewed)
    try:
        yield engine
    finally:
        engine.dispose()

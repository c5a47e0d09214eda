"""Connections to an empty outbox, as an application has them; what they write is rolled back."""

from collections.abc import Iterator

import pytest

from shipper.store.db import batches
from shipper.store.db.engine import open_engine
from tests.store.outboxes import SqlWriter


@pytest.fixture(params=["sqlite_url", "shared_postgres_url"], ids=["sqlite", "postgres"])
def write(request: pytest.FixtureRequest) -> Iterator[SqlWriter]:
    """Give an application's connection to an empty outbox; what it writes is rolled back."""
    engine = open_engine(request.getfixturevalue(request.param))
    with engine.connect() as connection:
        yield SqlWriter(connection)
    engine.dispose()


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[SqlWriter]:
    """Give a connection to a fresh outbox on SQLite."""
    engine = open_engine(sqlite_url)
    with engine.connect() as connection:
        yield SqlWriter(connection)
    engine.dispose()


@pytest.fixture
def post(shared_postgres_url: str) -> Iterator[SqlWriter]:
    """Give a connection to an empty outbox on PostgreSQL; what it writes is rolled back."""
    engine = open_engine(shared_postgres_url)
    with engine.connect() as connection:
        yield SqlWriter(connection)
    engine.dispose()


@pytest.fixture
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every batch take as many rows as the first, however fast it is."""
    monkeypatch.setattr(batches, "paced", lambda rows, *_: rows)

"""Several daemons on one PostgreSQL, which share its outbox."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shipper.store.db.engine import open_engine
from shipper.store.lease.lease import Owner
from tests.store.lease.members import (
    FakeClock,
    Joined,
    Member,
    elsewhere,
)


@pytest.fixture
def clock() -> FakeClock:
    """Give the clock of all daemons."""
    return FakeClock()


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def joined(postgres_url: str, clock: FakeClock) -> Iterator[Joined]:
    """Give what makes a daemon that has joined."""
    made: list[Member] = []

    def join(owner: Owner | None = None, **options: bool) -> Member:
        made.append(Member(postgres_url, owner or elsewhere(len(made) + 1), clock, **options))
        return made[-1]

    yield join
    for one in made:
        one.close()

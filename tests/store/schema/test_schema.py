"""What the types of the tables make of the values that they carry."""

import pytest
from sqlalchemy import Engine, select

from shipper.clock import iso
from shipper.store.schema.tables import lease, outbox
from tests.store.outboxes import SqlWriter

NOON = 1_795_435_200.123


def test_times_are_seconds_in_python_and_times_in_the_database(engine: Engine) -> None:
    """To the millisecond, on both."""
    with engine.begin() as connection:
        connection.execute(lease.update().values(acquired_at=NOON))
        [(acquired, expires)] = connection.execute(select(lease.c.acquired_at, lease.c.expires_at))
        later = lease.c.acquired_at < NOON + 0.001
        assert connection.scalar(select(lease.c.name).where(later)) == "outbox"
        assert connection.scalar(select(lease.c.name).where(lease.c.acquired_at < NOON)) is None
    assert acquired == pytest.approx(NOON, abs=1e-6)
    assert expires is None


def test_a_time_on_sqlite_is_the_text_that_people_read(lite: SqlWriter) -> None:
    """The same that SQLite's own defaults write."""
    lite.connection.execute(lease.update().values(acquired_at=NOON))
    assert lite("SELECT acquired_at FROM shipper_lease") == [(iso(NOON),)]
    lite("INSERT INTO shipper_outbox (payload) VALUES ('{}')")
    [(written,)] = lite("SELECT created_at FROM shipper_outbox")
    assert written == iso(lite.connection.scalar(select(outbox.c.created_at)) or 0.0)

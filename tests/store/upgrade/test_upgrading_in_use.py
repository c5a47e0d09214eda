"""An outbox is upgraded while an application writes into it, however much is in it."""

import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from shipper.errors import SchemaError, StoreUnavailable
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.db.transactions import glancing
from shipper.store.report import events
from shipper.store.schema import ddl, indexes, locks, revisions
from shipper.store.upgrade import migrate
from tests.store import older

DEADLINE = 10.0
# Every other table has a few rows, however many events there were.
_GROWS_WITH_EVENTS = r"shipper_(outbox|attempt|hold|minute|touched)"
_INSERT = "INSERT INTO shipper_outbox (payload) VALUES ('{}')"
_WAITS_FOR_A_LOCK = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest.fixture
def bare(bare_url: str) -> Iterator[Engine]:
    """Give an engine on a database with nothing in it."""
    engine = open_engine(bare_url, create=True)
    yield engine
    engine.dispose()


@pytest.fixture
def server(bare_postgres_url: str) -> Iterator[Engine]:
    """Give an engine on a PostgreSQL database with an outbox of the oldest revision."""
    engine = open_engine(bare_postgres_url)
    older.make(engine, revisions.REVISIONS[0])
    yield engine
    engine.dispose()


def _wait_for_a_lock(connection: Connection) -> None:
    deadline = time.monotonic() + DEADLINE
    while not connection.execute(_WAITS_FOR_A_LOCK).scalar():
        assert time.monotonic() < deadline, "nobody waits for a lock"
        connection.rollback()  # within a transaction it would see the same again


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_no_migration_touches_the_rows_of_events(dialect: str) -> None:
    """What one says of the tables takes a moment, however many rows they have."""
    for revision in revisions.REVISIONS:
        for block in ddl.statements(revision, dialect):
            lines = [line for line in block.splitlines() if not line.startswith("--")]
            moved = re.match(r"UPDATE|DELETE|INSERT .*SELECT", " ".join(lines))
            assert not moved or not re.search(_GROWS_WITH_EVENTS, block), block
            for rewritten in ("TYPE", "clock_timestamp", "random", "STORED", "CHECK", "PRIMARY"):
                assert "ALTER TABLE shipper_outbox" not in block or rewritten not in block


def test_an_upgrade_changes_a_handful_of_rows(tmp_path: Path) -> None:
    """Of 2,000 events with their history, SQLite itself counts that none was written."""
    engine = open_engine(f"sqlite:///{tmp_path / 'shop.db'}", create=True)
    older.make(engine, "0005")
    _fill(engine)
    with glancing(engine) as connection:
        driver = connection.connection.driver_connection
    before = _changes(driver)
    migrate.upgrade(engine)
    with glancing(engine) as connection:
        assert connection.connection.driver_connection is driver
    assert _changes(driver) - before < 50
    engine.dispose()


def _changes(driver: Any) -> int:
    changes: int = driver.total_changes
    return changes


def _fill(engine: Engine) -> None:
    with engine.begin() as tx:
        for number in range(2000):
            tx.exec_driver_sql(_INSERT)
            tx.exec_driver_sql(
                "INSERT INTO shipper_attempt"
                " (outbox_id, event_id, started_at, duration_ms, outcome)"
                f" VALUES ({number + 1}, 'e{number}', '2026-11-23T08:15:00.123Z', 1, 'http_500')"
            )


def test_tries_of_before_they_were_counted_are_in_the_history(bare: Engine) -> None:
    """Nobody counts them for all events at once; who asks gets the same number."""
    older.make(bare, "0008")
    with bare.begin() as tx:
        tx.exec_driver_sql(_INSERT)
        for _ in range(3):
            tx.exec_driver_sql(
                "INSERT INTO shipper_attempt"
                " (outbox_id, event_id, started_at, duration_ms, outcome)"
                " VALUES (1, 'e', '2026-11-23T08:15:00.123Z', 1, 'http_500')"
            )
        tx.exec_driver_sql("UPDATE shipper_outbox SET attempts = 3, last_error = 'http_500'")
    migrate.upgrade(bare)
    [found] = events.find(bare, Selection())
    assert (found.tries, found.attempts) == (3, 3)


def test_an_application_writes_while_an_upgrade_waits_for_its_moment(server: Engine) -> None:
    """A long transaction that has read the outbox holds up the upgrade, and nobody behind it."""
    second = open_engine(server.url.render_as_string(hide_password=False))
    with second.connect() as reader, server.connect() as writer, ThreadPoolExecutor(1) as thread:
        reader.exec_driver_sql("SELECT count(*) FROM shipper_outbox")
        upgrade = thread.submit(_upgrade, server.url.render_as_string(hide_password=False))
        for _ in range(3):
            _wait_for_a_lock(writer)
            writer.exec_driver_sql("SET LOCAL statement_timeout = '2s'")
            writer.exec_driver_sql(_INSERT)
            writer.commit()
        assert not upgrade.done()
        reader.rollback()
        upgrade.result(DEADLINE)
        assert writer.exec_driver_sql("SELECT count(*) FROM shipper_outbox").scalar() == 3
    revisions.check(server)
    second.dispose()


def _upgrade(url: str) -> None:
    engine = open_engine(url)
    migrate.upgrade(engine)
    engine.dispose()


def test_tables_that_stay_in_use_are_told_and_nothing_is_changed(server: Engine) -> None:
    """After its patience the upgrade says so; done again later it is done."""
    second = open_engine(server.url.render_as_string(hide_password=False))
    rests: list[float] = []
    with second.connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM shipper_outbox")
        with pytest.raises(StoreUnavailable, match="in use") as caught:
            locks.briefly(server, lambda _: None, patience=0.0, rest=rests.append)
        assert "pg_stat_activity" in str(caught.value.hint)
    migrate.upgrade(server)
    revisions.check(server)
    second.dispose()


def test_an_index_is_built_beside_those_who_write(server: Engine) -> None:
    """An application's open transaction with an INSERT in it holds up nobody, and isn't held up."""
    wanted = indexes.wanted("postgresql", revisions.REVISIONS[0])
    assert len(wanted) >= 2
    with server.begin() as tx:
        # What a build that was killed leaves behind.
        tx.exec_driver_sql(
            "CREATE INDEX shipper_outbox_delivered ON shipper_outbox (delivered_at)"
            " WHERE status = 'delivered'"
        )
        tx.exec_driver_sql(
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'shipper_outbox_delivered'::regclass"
        )
    url = server.url.render_as_string(hide_password=False)
    second = open_engine(url)
    with second.connect() as writer, server.connect() as asking, ThreadPoolExecutor(1) as thread:
        writer.exec_driver_sql(_INSERT)
        build = thread.submit(indexes.build, server, wanted)
        _wait_for_a_lock(asking)
        writer.exec_driver_sql("SET LOCAL statement_timeout = '2s'")
        writer.exec_driver_sql(_INSERT)
        assert not build.done()
        writer.commit()
        build.result(DEADLINE)
    with server.connect() as tx:
        valid = tx.exec_driver_sql(
            "SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 'shipper_outbox'::regclass"
        )
        assert valid.scalar() is True
    migrate.upgrade(server)
    revisions.check(server)
    second.dispose()


def test_a_daemon_does_not_stop_an_application_for_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large outbox on SQLite a person decides when it may be; a small one is a moment."""
    monkeypatch.setattr(indexes, "_LARGE", text("SELECT count(*) > 5 FROM shipper_outbox"))
    path = tmp_path / "shop.db"
    engine = open_engine(f"sqlite:///{path}", create=True)
    older.make(engine, "0001")
    with engine.begin() as tx:
        for _ in range(6):
            tx.exec_driver_sql(_INSERT)
    with pytest.raises(SchemaError, match="no other process can write") as caught:
        migrate.prepare(engine)
    assert "shipper db upgrade" in str(caught.value.hint)
    assert revisions.current(engine) == "0001"
    migrate.upgrade(engine)
    assert migrate.prepare(engine) == []
    engine.dispose()
    application = sqlite3.connect(path)
    application.execute("DROP INDEX shipper_outbox_dead")
    application.close()
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(SchemaError, match="lacks an index"):
        migrate.prepare(engine)
    with engine.begin() as tx:
        tx.exec_driver_sql("DELETE FROM shipper_outbox WHERE id > 2")
    assert "shipper_outbox_dead" in migrate.prepare(engine)[0]
    engine.dispose()

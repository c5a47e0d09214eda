"""The short way to the key comes into an outbox that an application is writing into."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine

from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.schema import revisions
from shipper.store.upgrade import migrate
from tests.store import older
from tests.store.outboxes import event

_MADE = (
    "SELECT sql FROM sqlite_master WHERE name = 'shipper_outbox_derive'",
    "SELECT prosrc FROM pg_proc WHERE proname = 'shipper_outbox_write'",
)


@pytest.fixture
def old(bare_url: str) -> Iterator[Engine]:
    """Give an outbox of the revision before."""
    engine = open_engine(bare_url, create=True)
    older.make(engine, "0011")
    with writing(engine):
        pass  # as a daemon leaves it: SQLite has its WAL
    yield engine
    engine.dispose()


class Application:
    """An application's connection, with a statement that it has prepared before the upgrade."""

    def __init__(self, connection: Any, insert: str) -> None:
        self.connection, self._insert = connection, insert

    def insert(self, whole: str) -> None:
        """Write an event by the prepared statement."""
        self.connection.execute(self._insert, [whole])


@pytest.fixture
def application(old: Engine, bare_url: str) -> Iterator[Application]:
    """Give an application that has written an event."""
    engine, mark = open_engine(bare_url, busy_timeout=10), "?"
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    if engine.dialect.name == "postgresql":
        connection.autocommit, connection.prepare_threshold, mark = True, 0, "%s"
    made = Application(connection, f"INSERT INTO shipper_outbox (payload) VALUES ({mark})")
    made.insert(event("u0"))
    yield made
    pooled.invalidate()
    engine.dispose()


def _keys(engine: Engine) -> list[str | None]:
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT ordering_key FROM shipper_outbox ORDER BY id")
        return [key for (key,) in found]


def _made(engine: Engine) -> str:
    """Return what derives keys, as the database has it."""
    with engine.connect() as connection:
        asked = _MADE[connection.dialect.name != "sqlite"]
        return str(connection.exec_driver_sql(asked).scalar_one())


def test_a_prepared_statement_goes_on_after_the_upgrade(
    old: Engine, application: Application
) -> None:
    """The application notices nothing, and a second upgrade changes nothing."""
    before = _made(old)
    for user in ("u1", "u2"):
        migrate.upgrade(old)
        application.insert(event(user))
        application.insert("{}")
    assert _keys(old) == ["u0", "u1", None, "u2", None]
    assert _made(old) != before
    revisions.check(old)


def test_an_upgrade_lets_a_transaction_end_first(old: Engine, application: Application) -> None:
    """What the application writes around the upgrade has its keys, and nothing of it is refused."""
    with ThreadPoolExecutor(1) as thread:
        begin = "BEGIN IMMEDIATE" if old.dialect.name == "sqlite" else "BEGIN"
        application.connection.execute(begin)
        application.insert(event("u1"))
        upgrade = thread.submit(migrate.upgrade, old)
        application.insert(event("u2"))
        application.connection.execute("COMMIT")
        upgrade.result(30)
        application.insert(event("u3"))
    assert _keys(old) == ["u0", "u1", "u2", "u3"]


def test_a_downgrade_brings_back_the_way_before(old: Engine) -> None:
    """One revision back, and forward again."""
    before = _made(old)
    migrate.upgrade(old)
    after = _made(old)
    with writing(old) as tx:
        command.downgrade(migrate._config(tx), "0011")
    assert (_made(old), revisions.current(old)) == (before, "0011")
    migrate.upgrade(old)
    assert _made(old) == after


def test_two_upgrades_at_once_make_each_trigger_once(old: Engine, bare_url: str) -> None:
    """One waits for the other, and then finds nothing to do (unslothai/unsloth 9996)."""
    second = open_engine(bare_url)
    with ThreadPoolExecutor(2) as threads:
        for upgrade in [threads.submit(migrate.upgrade, one) for one in (old, second)]:
            upgrade.result(60)
    second.dispose()
    revisions.check(old)
    assert not migrate.fix(old)

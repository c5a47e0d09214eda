"""Which outbox is meant where the search_path of a role, a database or a URL changes."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, make_url

from shipper.errors import SchemaError
from shipper.store.db.engine import open_engine
from shipper.store.db.kept import Kept
from shipper.store.db.transactions import glancing, writing
from shipper.store.schema import revisions
from shipper.store.upgrade.migrate import upgrade


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Give the connection of somebody who sets what a database's sessions begin with."""
    plain = make_url(postgres_url).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as one:
        yield one


def begin_with(admin: psycopg.Connection[Any], path: str) -> None:
    """Have new sessions of the database begin with a search_path."""
    name = admin.info.dbname
    admin.execute(f'ALTER DATABASE "{name}" SET search_path = {path}'.encode())


def add(url: str, event_id: str) -> None:
    """Write an event through an engine of its own."""
    engine = open_engine(url)
    with writing(engine) as tx:
        tx.exec_driver_sql(
            "INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', %s)", (event_id,)
        )
    engine.dispose()


def events(engine: Engine) -> list[str]:
    """Return the events of the outbox that an engine sees."""
    with glancing(engine) as tx:
        return list(tx.exec_driver_sql("SELECT event_id FROM shipper_outbox").scalars())


@pytest.mark.parametrize("path", ["nowhere", "''", '"$user"', "pg_catalog", "pg_temp"])
def test_a_path_that_leads_nowhere_means_the_only_outbox(
    postgres_url: str, admin: psycopg.Connection[Any], path: str
) -> None:
    """No table could be made there, so no other outbox is meant."""
    begin_with(admin, path)
    add(postgres_url, "a")
    engine = open_engine(postgres_url)
    revisions.check(engine)
    assert (upgrade(engine), events(engine)) == ([], ["a"])
    engine.dispose()


def test_an_outbox_that_the_path_does_not_show_is_named(
    postgres_url: str, admin: psycopg.Connection[Any]
) -> None:
    """And none is made beside it unasked: it would be empty."""
    admin.execute("CREATE SCHEMA other")
    begin_with(admin, "other")
    engine = open_engine(postgres_url)
    for refuse in (revisions.check, revisions.refuse_unasked, revisions.refuse_none):
        with pytest.raises(
            SchemaError, match=r"search_path \(other\); there is one in schema pub"
        ) as told:
            refuse(engine)
        assert "search_path%3Dpublic" in str(told.value.hint)
    upgrade(engine)
    revisions.check(engine)
    revisions.refuse_unasked(engine)
    engine.dispose()


def test_a_process_stays_with_its_outbox(postgres_url: str, admin: psycopg.Connection[Any]) -> None:
    """Whatever a role's sessions begin with by the time that it connects again."""
    add(postgres_url, "ours")
    engine = open_engine(postgres_url)
    assert events(engine) == ["ours"]
    admin.execute("CREATE SCHEMA other")
    begin_with(admin, "other")
    another = open_engine(postgres_url)
    upgrade(another)
    another.dispose()
    add(postgres_url, "theirs")
    kept: Kept = engine.get_execution_options()["kept"]
    kept.drop()
    engine.dispose()
    assert events(engine) == ["ours"]
    engine.dispose()

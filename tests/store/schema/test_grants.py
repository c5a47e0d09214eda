"""An application's role needs what `db grants` prints, and with it can do nothing else."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from shipper.errors import AccessDenied, SchemaError, UsageError
from shipper.store.db.engine import open_engine
from shipper.store.db.failures import translate
from shipper.store.db.transactions import writing
from shipper.store.schema import grants
from shipper.store.upgrade.migrate import upgrade
from tests.store.outboxes import SqlWriter, event, insert

ROLE = 'shop "floor"; x'
QUOTED = '"shop ""floor""; x"'


@pytest.fixture
def app(shared_postgres_url: str) -> Iterator[SqlWriter]:
    """Give a connection of a role that holds the grants, where PUBLIC holds nothing."""
    engine = open_engine(shared_postgres_url)
    schema = grants.schema_of(engine)
    with engine.connect() as connection:
        for statement in (
            f"CREATE ROLE {QUOTED}",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC",
            *grants.statements(ROLE, schema),
            f"SET LOCAL ROLE {QUOTED}",
        ):
            connection.execute(text(statement))
        yield SqlWriter(connection)
    engine.dispose()


def test_the_role_can_write_an_event_and_learn_its_id(app: SqlWriter) -> None:
    """The identity, the trigger and the repeatable write need nothing more."""
    statement = (
        "INSERT INTO shipper_outbox (payload, destination, ordering_key, event_id)"
        " VALUES (:payload, 'default', NULL, :id) ON CONFLICT (event_id) DO NOTHING"
        " RETURNING event_id"
    )
    assert app(statement, payload=event("u1"), id="order-4711") == [("order-4711",)]
    assert app(statement, payload=event("u1"), id="order-4711") == []
    assert len(app("INSERT INTO shipper_outbox (payload) VALUES ('{}') RETURNING event_id")) == 1
    assert app("INSERT INTO shipper_outbox (payload) VALUES ('{}') ON CONFLICT DO NOTHING") == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT payload FROM shipper_outbox",
        "SELECT * FROM shipper_outbox",
        "UPDATE shipper_outbox SET status = 'pending'",
        "DELETE FROM shipper_outbox",
        "TRUNCATE shipper_outbox",
        "INSERT INTO shipper_outbox (payload, status) VALUES ('{}', 'delivered')",
        "INSERT INTO shipper_outbox (payload, tx) VALUES ('{}', '1')",
        "INSERT INTO shipper_outbox (payload) VALUES ('{}') RETURNING id",
        "SELECT event_id FROM shipper_attempt",
        "UPDATE shipper_lease SET token = 1",
    ],
)
def test_the_role_can_do_nothing_else(app: SqlWriter, statement: str) -> None:
    """And we call that a missing right."""
    with pytest.raises(ProgrammingError) as caught:
        app(statement)
    assert isinstance(translate(caught.value), AccessDenied)


def test_the_outbox_works_in_a_schema_of_its_own(bare_postgres_url: str) -> None:
    """The triggers don't care for the search_path of whoever writes."""
    engine = open_engine(bare_postgres_url)
    with writing(engine) as connection:
        connection.execute(text("CREATE SCHEMA shop"))
        connection.execute(text("SELECT set_config('search_path', 'shop', false)"))
    upgrade(engine)
    assert grants.schema_of(engine) == "shop"
    with writing(engine) as connection:
        assert insert(SqlWriter(connection), event("u1"))["ordering_key"] == "u1"
        connection.execute(text("SET search_path = pg_temp"))
        connection.execute(text("INSERT INTO shop.shipper_outbox (payload) VALUES ('{}')"))
    engine.dispose()


@pytest.mark.parametrize("role", ["", "a\0b", "x" * 64, "ü" * 32])
def test_a_name_that_is_no_roles_is_refused(role: str) -> None:
    """PostgreSQL would cut a long one short and grant to another role."""
    with pytest.raises(UsageError, match="1 to 63 bytes"):
        grants.statements(role)


def test_without_an_outbox_there_is_nothing_to_grant(bare_postgres_url: str) -> None:
    """The command says what to do first."""
    engine = open_engine(bare_postgres_url)
    with pytest.raises(SchemaError, match="no outbox"):
        grants.schema_of(engine)
    engine.dispose()


def test_sqlite_has_no_roles_but_modes() -> None:
    """The explanation names the modes that were measured to work."""
    assert "2770" in grants.SQLITE
    assert "0660" in grants.SQLITE

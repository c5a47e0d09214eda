"""Tables of ours that a tool has dropped or emptied are made again by `db upgrade`."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shipper.errors import SchemaError
from shipper.store.db.transactions import glancing
from shipper.store.report.verify import verify
from shipper.store.schema import revisions
from shipper.store.schema.damage import damage, things
from shipper.store.upgrade import migrate
from tests.store.schema.tools import outbox, rows, run

_CATALOG = (
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,"
    " a.attidentity, pg_get_expr(d.adbin, d.adrelid), CAST(c.reloptions AS text)"
    " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0"
    " AND NOT a.attisdropped LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum"
    " WHERE c.relname LIKE 'shipper%%' AND c.relkind IN ('r', 'i') AND c.relpersistence = 'p'"
    " ORDER BY 1, a.attnum"
)


@pytest.fixture(params=["sqlite_url", "postgres_url"], ids=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Give an outbox with an event, on each database."""
    with outbox(request.getfixturevalue(request.param)) as engine:
        yield engine


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL with an event."""
    with outbox(postgres_url) as engine:
        yield engine


def _kind(name: str) -> str:
    return "SEQUENCE" if name == "shipper_delivery" else "TABLE"


@pytest.mark.parametrize("table", list(things("postgresql").tables))
def test_a_table_that_was_dropped_is_made_again(post: Engine, table: str) -> None:
    """With every column and default that it has come to have; the others keep their rows."""
    before = rows(post, _CATALOG)
    run(post, f"DROP {_kind(table)} {table} CASCADE")
    [notice] = migrate.upgrade(post)
    assert table in notice
    assert ("are lost" in notice) == (table == "shipper_outbox")
    migrate.fix(post)
    assert rows(post, _CATALOG) == before
    with glancing(post) as tx:
        assert damage(tx) == []
    run(post, "INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', 'b')")
    kept = [] if table == "shipper_outbox" else [("a",)]
    assert rows(post, "SELECT event_id FROM shipper_outbox ORDER BY id") == [*kept, ("b",)]
    assert [found for found in verify(post) if found.fault] == []
    assert migrate.upgrade(post) == []


@pytest.mark.parametrize("lost", ["DELETE FROM", "DROP TABLE"])
def test_the_note_of_the_revision_is_made_again(either: Engine, lost: str) -> None:
    """A tool that empties every table empties that one, too; nobody has to rename the outbox."""
    run(either, f"{lost} {revisions.VERSION_TABLE}")
    with pytest.raises(SchemaError, match="missing or empty") as told:
        revisions.check(either)
    assert told.value.hint == "run: shipper db upgrade"
    [notice] = migrate.upgrade(either)
    assert revisions.VERSION_TABLE in notice
    revisions.check(either)
    assert rows(either, "SELECT event_id FROM shipper_outbox") == [("a",)]
    assert migrate.upgrade(either) == []


def test_the_outbox_alone_is_enough(either: Engine) -> None:
    """Everything else was dropped with the note; the events are still there, and no stranger's."""
    with glancing(either) as tx:
        there = things(tx.dialect.name).tables
    others = [name for name in there if name != "shipper_outbox"]
    gone = [revisions.VERSION_TABLE, *others]
    run(either, *(f"DROP {_kind(name)} {name}" for name in gone))
    assert len(migrate.upgrade(either)) == 2
    migrate.fix(either)
    revisions.check(either)
    run(either, "INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', 'b')")
    assert rows(either, "SELECT event_id FROM shipper_outbox ORDER BY id") == [("a",), ("b",)]
    assert [found for found in verify(either) if found.fault] == []


def test_what_is_in_the_way_of_a_table_is_named(post: Engine) -> None:
    """A table that somebody has renamed keeps the names of its indexes."""
    run(post, "ALTER TABLE shipper_outbox RENAME TO shipper_outbox_old")
    with pytest.raises(SchemaError, match='"shipper_outbox_') as told:
        migrate.upgrade(post)
    assert "keeps its name" in str(told.value.hint)
    run(post, "ALTER TABLE shipper_outbox_old RENAME TO shipper_outbox")
    assert (migrate.upgrade(post), migrate.fix(post)) == ([], [])
    assert rows(post, "SELECT event_id FROM shipper_outbox") == [("a",)]


def test_a_revision_is_not_guessed(either: Engine) -> None:
    """Tables of another revision keep what they are."""
    run(either, f"DELETE FROM {revisions.VERSION_TABLE}",
        "ALTER TABLE shipper_lease DROP COLUMN ttl")  # fmt: skip
    with pytest.raises(SchemaError, match="columns of shipper_lease") as told:
        migrate.upgrade(either)
    assert "restore" in str(told.value.hint)
    assert revisions.current(either) is None

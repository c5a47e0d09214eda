"""What tools take away from an SQLite outbox is made again; nothing that is there is dropped."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.store.db.engine import database_path, open_engine
from shipper.store.schema import sqlite_objects
from shipper.store.upgrade import migrate
from tests.store.schema.tools import outbox, rows, run

LIST = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give an outbox with an event."""
    with outbox(sqlite_url) as engine:
        yield engine


def test_an_outbox_as_it_was_made_lacks_nothing(lite: Engine) -> None:
    """Whatever the migrations went through."""
    assert sqlite_objects.missing(lite) == []
    assert (migrate.upgrade(lite), migrate.prepare(lite)) == ([], [])


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TRIGGER shipper_outbox_refuse", "trigger shipper_outbox_refuse"),
        ("DROP TRIGGER shipper_outbox_immutable", "trigger shipper_outbox_immutable"),
        ("DROP INDEX shipper_outbox_pending", "index shipper_outbox_pending"),
        ("DROP INDEX shipper_hold_exact", "index shipper_hold_exact"),
        ("DROP TABLE shipper_minute", "table shipper_minute"),
        ("DELETE FROM shipper_lease", "the row of shipper_lease"),
        ("DELETE FROM shipper_insert_guard", "the row of shipper_insert_guard"),
    ],
)
@pytest.mark.parametrize("heal", [migrate.upgrade, migrate.prepare])
def test_what_is_gone_is_made_again(lite: Engine, statement: str, said: str, heal: object) -> None:
    """By `db upgrade`, and by a daemon that starts; the events stay what they are."""
    before = rows(lite, LIST)
    run(lite, statement)
    assert said in sqlite_objects.missing(lite)
    assert callable(heal)
    [notice] = heal(lite)
    assert said in notice
    assert rows(lite, LIST) == before
    assert sqlite_objects.missing(lite) == []
    assert rows(lite, "SELECT id, event_id FROM shipper_outbox") == [(1, "a")]


def test_a_lease_that_was_emptied_goes_on_counting(lite: Engine) -> None:
    """By the numbers of deliveries their order is checked."""
    run(lite, "UPDATE shipper_outbox SET status = 'delivered', delivery_number = 7,"
        " delivered_at = '2026-11-23T08:15:00.123Z'", "INSERT INTO shipper_claim VALUES (5, '[1]')",
        "INSERT INTO shipper_lease (name) VALUES ('clock')",
        "DELETE FROM shipper_lease WHERE name = 'outbox'")  # fmt: skip
    migrate.prepare(lite)
    assert rows(lite, "SELECT name, delivery, claim FROM shipper_lease ORDER BY name") == [
        ("clock", 0, 0),
        ("outbox", 7, 5),
    ]


def test_a_trigger_that_was_changed_is_ours_again(lite: Engine) -> None:
    """A tool had rewritten it."""
    before = rows(lite, LIST)
    run(lite, "DROP TRIGGER shipper_outbox_refuse",
        "CREATE TRIGGER shipper_outbox_refuse BEFORE INSERT ON shipper_outbox BEGIN SELECT 1; END",
    )  # fmt: skip
    assert sqlite_objects.missing(lite) == ["trigger shipper_outbox_refuse"]
    migrate.prepare(lite)
    assert rows(lite, LIST) == before


def test_a_dump_without_triggers_has_them_again(lite: Engine, tmp_path: Path) -> None:
    """Rows and tables only, as many a tool exports them; the application's own stays as it is."""
    run(lite, "CREATE TABLE orders (id)", "CREATE TRIGGER theirs AFTER INSERT ON orders BEGIN"
        " SELECT 1; END")  # fmt: skip
    found = database_path(f"sqlite:///{tmp_path / 'shop.db'}")
    assert found is not None
    old = sqlite3.connect(found)
    ours = ("CREATE TRIGGER shipper", "CREATE INDEX shipper", "CREATE UNIQUE INDEX shipper")
    dump = [line for line in old.iterdump() if not line.startswith(ours)]
    old.close()
    new = sqlite3.connect(tmp_path / "new.db")
    new.executescript("\n".join(dump))
    new.close()
    restored = open_engine(f"sqlite:///{tmp_path / 'new.db'}")
    migrate.prepare(restored)
    assert {row[1] for row in rows(restored, LIST)} == {row[1] for row in rows(lite, LIST)}
    run(restored, "INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', '')")
    [(_, first), (_, second)] = rows(
        restored, "SELECT id, event_id FROM shipper_outbox ORDER BY id"
    )
    assert (first, len(str(second))) == ("a", 36)
    restored.dispose()

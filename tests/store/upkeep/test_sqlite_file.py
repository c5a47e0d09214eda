"""A file of ours gives its room back in small steps, keeps some, and its WAL is cut."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.event import listens_for

from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import connect_sqlite, create_sqlite_file
from shipper.store.upgrade.migrate import upgrade
from shipper.store.upkeep import sqlite_file
from shipper.store.upkeep.sqlite_file import (
    FRAMES_AT_ONCE,
    STEP_PAGES,
    Checkpoint,
    checkpoint,
    give_back,
    measure,
)
from tests.store.shipping import run

MEGABYTE = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the place of a file."""
    return tmp_path / "shop.db"


@pytest.fixture
def lite(path: Path) -> Iterator[Engine]:
    """Give an outbox in a file of ours that has had ten megabytes more in it than it has now."""
    create_sqlite_file(path)
    yield from _emptied(path)


def _emptied(path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    run(engine, "CREATE TABLE filling (x BLOB)")
    run(engine, f"INSERT INTO filling VALUES (zeroblob({10 * MEGABYTE}))")
    run(engine, "DROP TABLE filling")
    yield engine
    engine.dispose()


def test_a_file_of_ours_shrinks_and_keeps_some_room(lite: Engine, path: Path) -> None:
    """A step at a time; the least that stays is a megabyte."""
    before = measure(lite)
    assert before.shrinks
    assert before.free > 10 * MEGABYTE
    steps = list(give_back(lite))
    assert max(steps) == STEP_PAGES
    after = measure(lite)
    assert after.free == MEGABYTE
    assert before.file - after.file >= before.free - after.free
    assert checkpoint(lite)
    assert path.stat().st_size == after.file


def test_a_large_file_keeps_a_tenth(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written tomorrow needs the room again."""
    monkeypatch.setattr(sqlite_file, "_KEPT_LEAST", 1)
    list(give_back(lite))
    after = measure(lite)
    assert after.free == pytest.approx(after.file / 10, abs=8192)


def test_a_file_of_the_applications_is_left_as_it_is(path: Path) -> None:
    """It wasn't made for that, and to make it so would rewrite all of it."""
    application = sqlite3.connect(path)
    application.execute("CREATE TABLE orders (id INTEGER)")
    application.close()
    [engine] = _emptied(path)
    before = measure(engine)
    assert not before.shrinks
    assert list(give_back(engine)) == []
    assert measure(engine) == before
    engine.dispose()


def test_a_wal_is_cut_unless_somebody_reads_it(lite: Engine, path: Path) -> None:
    """Nobody is waited for, and the patience of the connection is what it was."""
    reader = connect_sqlite(path, 0.0)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM shipper_outbox").fetchall()
    run(lite, "INSERT INTO shipper_outbox (payload) VALUES ('{}')")
    assert not checkpoint(lite)
    assert measure(lite).wal > 0
    reader.execute("ROLLBACK")
    assert checkpoint(lite)
    assert measure(lite).wal == 0
    reader.close()
    with lite.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000


def test_what_keeps_writers_away_is_little(lite: Engine, path: Path) -> None:
    """All of a large WAL is copied beside them first; where it can't be, they are left alone."""
    asked: list[str] = []

    @listens_for(lite, "before_cursor_execute")
    def _note(_: object, __: object, statement: str, *___: object) -> None:
        if "wal_checkpoint" in statement:
            asked.append(statement.partition("(")[2].rstrip(")"))

    reader = connect_sqlite(path, 0.0)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM shipper_outbox").fetchall()
    for _ in range(5):
        payload = json.dumps({"padding": "x" * 800_000})
        run(lite, "INSERT INTO shipper_outbox (payload) VALUES (:payload)", payload=payload)
    assert measure(lite).wal > FRAMES_AT_ONCE * 4096
    assert not checkpoint(lite, beside_writers=True)
    assert "TRUNCATE" not in asked
    reader.execute("ROLLBACK")
    asked.clear()
    assert checkpoint(lite, beside_writers=True)
    assert asked == ["PASSIVE", "TRUNCATE"]
    assert checkpoint(lite, beside_writers=False)
    assert asked[2:] == ["TRUNCATE"]
    reader.close()


def test_a_checkpoint_that_is_broken_off_does_nothing_more(lite: Engine) -> None:
    """A stop waits for none, whether it has begun or not."""
    begun = Checkpoint(lite)
    assert begun.run()
    begun.break_off()
    late = Checkpoint(lite)
    late.break_off()
    assert not late.run()


def test_a_writer_is_not_waited_for(lite: Engine, path: Path) -> None:
    """It is the next chore's turn."""
    writer = connect_sqlite(path, 0.0)
    writer.execute("BEGIN IMMEDIATE")
    assert not checkpoint(lite)
    writer.close()

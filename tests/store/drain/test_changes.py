"""Noticing a commit on SQLite without a look."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.store.db.engine import database_path, open_engine
from shipper.store.drain.changes import SqliteWatch
from tests.store.daemons import write
from tests.store.shipping import run


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give the application's connection."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def path(sqlite_url: str) -> Path:
    """Give the file."""
    path = database_path(sqlite_url)
    assert path is not None
    return path


@pytest.fixture
def watch(path: Path) -> Iterator[SqliteWatch]:
    """Give a watch that has seen what there is."""
    watch = SqliteWatch(path)
    assert watch.changed()
    yield watch
    watch.close()


def test_what_was_there_before_is_worth_a_look(path: Path) -> None:
    """The first answer is yes, because nothing is known yet."""
    watch = SqliteWatch(path)
    assert watch.changed()
    assert not watch.changed()
    watch.close()


def test_every_commit_is_noticed_once(watch: SqliteWatch, lite: Engine) -> None:
    """Also several at once, and none of it twice."""
    for keys in (["a"], ["a", "b", "c"]):
        write(lite, *keys)
        assert watch.changed()
        assert not watch.changed()


def test_what_is_not_committed_is_not_noticed(watch: SqliteWatch, lite: Engine) -> None:
    """Neither an open transaction nor one that was rolled back."""
    with lite.connect() as application:
        application.exec_driver_sql("INSERT INTO shipper_outbox (payload) VALUES ('{}')")
        assert not watch.changed()
        application.rollback()
    assert not watch.changed()


def test_to_watch_keeps_nobody_waiting(watch: SqliteWatch, lite: Engine) -> None:
    """No transaction is open between two calls, so the log can be emptied."""
    write(lite, "a")
    assert watch.changed()
    with lite.connect().execution_options(isolation_level="AUTOCOMMIT") as application:
        done = application.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    assert tuple(done) == (0, 0, 0)


def test_where_nothing_can_be_told_a_look_will_tell(path: Path, lite: Engine) -> None:
    """A file that is missing or no database is worth a look, every time, until it is there."""
    run(lite, "UPDATE shipper_lease SET generation = 7")
    lite.dispose()
    aside = path.with_name("aside.db")
    path.rename(aside)
    watch = SqliteWatch(path)
    assert watch.changed()
    assert watch.changed()
    path.write_bytes(b"no database" * 500)
    assert watch.changed()
    assert watch.changed()
    aside.rename(path)
    assert watch.changed()
    assert not watch.changed()
    watch.close()
    watch.close()


def test_a_watch_that_was_closed_begins_anew(watch: SqliteWatch) -> None:
    """It may have missed something."""
    watch.close()
    assert watch.changed()
    assert not watch.changed()

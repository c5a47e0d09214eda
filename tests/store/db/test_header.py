"""An SQLite file that came back otherwise than it was: in rollback mode, in UTF-16."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.errors import SchemaError, StoreUnavailable
from shipper.store.db.engine import database_path, open_engine
from shipper.store.db.sqlite.opening import _sqlite_module
from shipper.store.db.transactions import glancing, reading, writing
from shipper.store.upgrade import migrate

# In one process the locks of two libraries don't see each other.
connect = _sqlite_module().connect


@pytest.fixture
def file(sqlite_url: str) -> Path:
    """Give the file of an outbox."""
    found = database_path(sqlite_url)
    assert found is not None
    return found


@pytest.fixture
def told() -> list[str]:
    """Collect what was changed."""
    return []


@pytest.fixture
def lite(sqlite_url: str, told: list[str]) -> Iterator[Engine]:
    """Give an engine on it that has opened nothing yet."""
    engine = open_engine(sqlite_url, busy_timeout=0.05, notify=told.append)
    yield engine
    engine.dispose()


def mode_of(file: Path) -> str:
    """Return the journal mode, as another process sees it."""
    connection = connect(file)
    mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
    connection.close()
    return mode


@pytest.fixture(params=["delete", "truncate", "persist"])
def rolled_back(file: Path, request: pytest.FixtureRequest) -> str:
    """Take the WAL away, as `.dump | sqlite3 new.db` does (NetworkOptimizer 659)."""
    connection = connect(file)
    connection.execute(f"PRAGMA journal_mode = {request.param}")
    connection.close()
    return "delete"  # the others are a connection's and not the file's


def test_the_first_write_has_its_wal_again(
    lite: Engine, file: Path, told: list[str], rolled_back: str
) -> None:
    """And whoever looks is told, once."""
    assert mode_of(file) == rolled_back
    for _ in range(2):
        with writing(lite) as tx:
            tx.exec_driver_sql("UPDATE shipper_lease SET token = token + 1")
    assert mode_of(file) == "wal"
    assert len(told) == 1
    assert "shop.db: the journal mode was delete" in told[0]


def test_every_new_connection_looks(lite: Engine, file: Path, told: list[str]) -> None:
    """A tool may have come by while the daemon was away."""
    with writing(lite) as tx:
        tx.exec_driver_sql("UPDATE shipper_lease SET token = 1")
    lite.dispose()
    tool = connect(file)
    assert tool.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    tool.close()
    with writing(lite) as tx:
        tx.exec_driver_sql("UPDATE shipper_lease SET token = 2")
    assert (mode_of(file), len(told)) == ("wal", 1)


def test_who_only_looks_changes_nothing(
    lite: Engine, file: Path, told: list[str], rolled_back: str
) -> None:
    """`status` may be asked by somebody who may not write."""
    for looking in (reading, glancing):
        with looking(lite) as tx:
            tx.exec_driver_sql("SELECT * FROM shipper_lease").all()
    assert (mode_of(file), told) == (rolled_back, [])


def test_nothing_is_written_without_a_wal(lite: Engine, file: Path, rolled_back: str) -> None:
    """While somebody is in the way it is waited for, and said why."""
    other = connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with (
        pytest.raises(StoreUnavailable, match="not WAL, and can't be changed while another"),
        writing(lite) as tx,
    ):
        tx.exec_driver_sql("UPDATE shipper_lease SET token = 7")
    other.execute("ROLLBACK")
    assert other.execute("SELECT token FROM shipper_lease").fetchone() == (0,)
    with writing(lite) as tx:
        tx.exec_driver_sql("UPDATE shipper_lease SET token = 7")
    other.close()
    assert mode_of(file) != rolled_back


def test_the_application_goes_on_in_the_new_mode(lite: Engine, file: Path) -> None:
    """Its connection, which was opened before, finds out by itself."""
    application = connect(file, isolation_level=None)
    application.execute("PRAGMA journal_mode = DELETE")
    application.execute("INSERT INTO shipper_outbox (payload) VALUES ('1')")
    with writing(lite) as tx:
        tx.exec_driver_sql("UPDATE shipper_lease SET token = 1")
    application.execute("INSERT INTO shipper_outbox (payload) VALUES ('2')")
    application.close()
    with reading(lite) as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM shipper_outbox").scalar() == 2


def test_a_file_that_was_loaded_as_utf_16_is_refused(lite: Engine, file: Path) -> None:
    """What is read there is not, byte for byte, what was written."""
    old = sqlite3.connect(file)
    dump = "\n".join(old.iterdump())
    old.close()
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    new = connect(file)
    new.execute("PRAGMA encoding = 'UTF-16le'")
    new.executescript(dump)
    new.close()
    with pytest.raises(SchemaError, match="encoded in UTF-16le"), writing(lite):
        pass


def test_a_file_of_somebody_elses_keeps_its_mode(tmp_path: Path, told: list[str]) -> None:
    """Nothing of ours is in it."""
    file = tmp_path / "theirs.db"
    theirs = connect(file)
    theirs.execute("CREATE TABLE orders (id INTEGER)")
    theirs.close()
    engine = open_engine(f"sqlite:///{file}", notify=told.append)
    with writing(engine):
        pass
    engine.dispose()
    assert (mode_of(file), told) == ("delete", [])


def test_an_upgrade_gives_a_foreign_file_its_wal_and_says_so(tmp_path: Path) -> None:
    """For every application that opens it."""
    file = tmp_path / "theirs.db"
    theirs = connect(file)
    theirs.execute("CREATE TABLE orders (id INTEGER)")
    theirs.close()
    engine = open_engine(f"sqlite:///{file}")
    assert migrate.upgrade(engine) == [
        "the database's journal mode is WAL now, for every application"
    ]
    engine.dispose()
    assert mode_of(file) == "wal"

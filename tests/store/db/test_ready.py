"""The drain's own transactions on a file: quick, never waiting, and as safe as all others."""

import sqlite3.dbapi2
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from shipper.errors import StoreUnavailable
from shipper.store.db.engine import open_engine
from shipper.store.db.kept import Kept
from shipper.store.db.sqlite import opening, unchanged
from shipper.store.db.sqlite.opening import connect_sqlite
from shipper.store.db.transactions import committing, exchanging, is_ready, viewing, writing
from shipper.store.drain.queue import ask_nothing
from shipper.system.steps import Mark, whole

TOUCH = text("UPDATE shipper_lease SET ttl = ttl")


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give an engine on a fresh SQLite outbox."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


def ready(engine: Engine) -> None:
    """Let the engine keep a connection that has written."""
    with writing(engine) as tx:
        tx.execute(TOUCH)


def kept(engine: Engine) -> Kept:
    """Return what the engine keeps."""
    found: Kept = engine.get_execution_options()["kept"]
    return found


def test_the_first_one_may_wait_and_the_next_doesn_t(lite: Engine) -> None:
    """The first has to connect."""
    assert not is_ready(lite)
    assert next(exchanging(lite, ask_nothing)) is Mark.WAIT
    ready(lite)
    assert is_ready(lite)
    with whole(exchanging(lite, ask_nothing)) as (tx, _):
        tx.exec_driver_sql("UPDATE shipper_lease SET ttl = 77")
        assert committing(lite) is None
    assert committing(lite) is None
    with viewing(lite) as tx:
        assert tx.exec_driver_sql("SELECT ttl FROM shipper_lease").scalar() == 77


def test_a_lock_of_another_process_is_not_waited_for(lite: Engine, file: Path) -> None:
    """Not even for a moment: the caller waits in its own thread."""
    ready(lite)
    other = connect_sqlite(file, 0.0)
    other.execute("BEGIN IMMEDIATE")
    steps = exchanging(lite, ask_nothing)
    assert next(steps) is Mark.WAIT
    other.execute("COMMIT")
    with whole(steps) as (tx, _):
        tx.execute(TOUCH)
    other.close()


def test_what_fails_is_undone_and_reported_like_any_failure(
    lite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what only COMMIT shows; the connection is closed, the next transaction gets another."""
    ready(lite)

    def fail(_: object) -> None:
        error = lite.dialect.loaded_dbapi.OperationalError("disk I/O error")
        error.sqlite_errorcode = 1034  # type: ignore[attr-defined]
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(lite.dialect, "do_commit", fail)
        failing = whole(exchanging(lite, ask_nothing))
        with pytest.raises(StoreUnavailable, match="IOERR_FSYNC"), failing as (tx, _):
            tx.exec_driver_sql("UPDATE shipper_lease SET ttl = 99")
    assert not is_ready(lite)
    ready(lite)
    with pytest.raises(ZeroDivisionError), whole(exchanging(lite, ask_nothing)) as (tx, _):
        _fail(tx)
    with viewing(lite) as tx:
        assert tx.exec_driver_sql("SELECT ttl FROM shipper_lease").scalar() != 99


def _fail(tx: Connection) -> None:
    tx.exec_driver_sql("UPDATE shipper_lease SET ttl = 99")
    raise ZeroDivisionError


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_a_removed_file_is_noticed_before_the_next_transaction(
    lite: Engine, file: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the directory was found unchanged before."""
    monkeypatch.setattr(unchanged, "_TICK", -1.0)  # trusted from the first check on
    monkeypatch.setattr(unchanged, "_TRUSTED_FOR", 1e9)
    ready(lite)
    assert is_ready(lite)
    assert is_ready(lite)
    file.with_name(file.name + suffix).rename(file.with_name("away"))
    assert not is_ready(lite)
    file.with_name("away").rename(file.with_name(file.name + suffix))
    assert is_ready(lite)


def test_a_lock_that_was_removed_is_noticed(lite: Engine) -> None:
    """The ordinary transaction repairs it."""
    ready(lite)
    lost = True
    kept(lite).look_also(lambda: None, lambda: lost)
    assert not is_ready(lite)
    lost = False
    assert is_ready(lite)


def test_a_failure_leaves_no_write_lock_behind_whichever_library_it_is(
    sqlite_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own module keeps a closed connection while a SELECT on it isn't read to its end."""
    with_pythons_own(monkeypatch)
    engine, other = open_engine(sqlite_url), connect_sqlite(file, 0.0)
    ready(engine)
    cursors = []

    def fail_behind_a_select(tx: Connection) -> None:
        cursors.append(tx.connection.cursor())
        cursors[0].execute("SELECT 1 UNION ALL SELECT 2").fetchone()
        _fail(tx)

    with pytest.raises(ZeroDivisionError), whole(exchanging(engine, ask_nothing)) as (tx, _):
        fail_behind_a_select(tx)
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    assert cursors
    other.close()
    engine.dispose()


def test_an_event_can_be_written_whichever_library_it_is(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some libraries let a schema that isn't trusted call no JSON function; ours has to."""
    with_pythons_own(monkeypatch)
    engine = open_engine(sqlite_url)
    with writing(engine) as tx:
        tx.exec_driver_sql("INSERT INTO shipper_outbox (payload) VALUES (?)", ('{"a": 1}',))
    engine.dispose()


def with_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take Python's own SQLite, as where there is no wheel of pysqlite3."""
    monkeypatch.setattr(opening, "_sqlite_module", lambda: sqlite3.dbapi2)
    monkeypatch.setattr(opening, "_may_distrust_schemas", opening._may_distrust_schemas.__wrapped__)

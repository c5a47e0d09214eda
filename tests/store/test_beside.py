"""The -wal and -shm of an open file are removed: nothing that was committed is lost for that.

Every other process is a real one, because SQLite's locks are between processes.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from shipper.errors import LeaseLost, StoreUnavailable
from shipper.store.backup import back_up
from shipper.store.engine import database_path, open_engine
from shipper.store.transactions import glancing, writing
from shipper.store.watch import SqliteWatch
from tests.store.processes import process

BOTH = ("-wal", "-shm")
EITHER = [BOTH, ("-wal",), ("-shm",)]

# Inserts what it reads, a line each, and says when that is committed; ends with its stdin.
APPLICATION = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("SELECT count(*) FROM shipper_outbox").fetchone()
print("open", flush=True)
for line in sys.stdin:
    connection.execute(
        "INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', ?)", [line.strip()]
    )
    print("committed", flush=True)
"""


@pytest.fixture
def told() -> list[str]:
    """Collect what is said of a file."""
    return []


@pytest.fixture
def lite(sqlite_url: str, told: list[str]) -> Iterator[Engine]:
    """Give an engine that has written to an outbox and goes on having it open."""
    engine = open_engine(sqlite_url, busy_timeout=0.2, told=told.append)
    add(engine, "before")
    yield engine
    engine.dispose()


@pytest.fixture
def file(sqlite_url: str) -> Path:
    """Give its file."""
    found = database_path(sqlite_url)
    assert found is not None
    return found


def add(engine: Engine, name: str) -> None:
    """Write an event."""
    with writing(engine) as tx:
        tx.execute(
            text("INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', :name)"),
            {"name": name},
        )


def remove(file: Path, suffixes: tuple[str, ...] = BOTH) -> None:
    """Do what `rsync --delete` and `git clean -fdx` do."""
    for suffix in suffixes:
        file.with_name(file.name + suffix).unlink()


def events(file: Path) -> list[str]:
    """Return what another process finds in a file, and see that it is sound."""
    looker = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
print(*[row[0] for row in connection.execute("SELECT event_id FROM shipper_outbox ORDER BY id")])
"""
    with process(looker, str(file)) as other:
        return other.said().split()


def alone(file: Path, directory: Path) -> list[str]:
    """Return what is in the file itself, as after a crash that leaves no -wal."""
    copy = directory / "alone.db"
    shutil.copy(file, copy)
    connection = sqlite3.connect(copy)
    found = connection.execute("SELECT event_id FROM shipper_outbox ORDER BY id").fetchall()
    connection.close()
    for one in directory.glob("alone.db*"):
        one.unlink()
    return [name for (name,) in found]


@pytest.mark.parametrize("suffixes", EITHER, ids="".join)
def test_what_was_in_a_removed_wal_is_saved(
    lite: Engine, file: Path, told: list[str], suffixes: tuple[str, ...]
) -> None:
    """With the very next transaction, whichever kind; then everybody shares one WAL again."""
    remove(file, suffixes)
    with glancing(lite) as tx:
        assert tx.exec_driver_sql("SELECT event_id FROM shipper_outbox").scalar() == "before"
    [said] = told
    assert "shop.db: its -wal or -shm was removed" in said
    add(lite, "after")
    assert events(file) == ["before", "after"]
    remove(file, suffixes)
    add(lite, "again")
    assert events(file) == ["before", "after", "again"]
    assert len(told) == 2


@pytest.mark.parametrize("suffixes", EITHER, ids="".join)
def test_nothing_is_written_while_the_application_has_the_removed_one_open(
    lite: Engine, file: Path, tmp_path: Path, told: list[str], suffixes: tuple[str, ...]
) -> None:
    """Who opens the file next would not see it; what it commits meanwhile is saved, too."""
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        remove(file, suffixes)
        with pytest.raises(StoreUnavailable, match=r"still has it open: process \d+ \(") as caught:
            add(lite, "refused")
        assert "restart" in str(caught.value.hint)
        application.tell("meanwhile")
        assert application.said() == "committed"
        with pytest.raises(StoreUnavailable):
            add(lite, "refused")
        assert alone(file, tmp_path) == ["before", "meanwhile"]
        assert told == []
        application.dies()
    add(lite, "after")
    assert events(file) == ["before", "meanwhile", "after"]
    assert len(told) == 1


def test_who_only_looked_meanwhile_does_no_harm(lite: Engine, file: Path, told: list[str]) -> None:
    """A monitor has made both files anew, and written nothing."""
    remove(file)
    events(file)
    assert file.with_name("shop.db-shm").exists()
    add(lite, "after")
    assert events(file) == ["before", "after"]
    assert len(told) == 1


def test_what_another_has_committed_to_a_new_wal_is_never_taken_back(
    lite: Engine, file: Path, told: list[str]
) -> None:
    """Then ours ends, without a word into the file; the removed WAL is kept for somebody to see."""
    remove(file)
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        application.tell("anew")
        assert application.said() == "committed"
        application.dies()
    with pytest.raises(LeaseLost, match=r"shop\.db\.shipper\.removed-wal"):
        add(lite, "refused")
    lite.dispose()
    assert "anew" in events(file)
    assert "refused" not in events(file)
    kept = file.with_name("shop.db.shipper.removed-wal")
    assert kept.read_bytes()[:2] == b"\x37\x7f"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert told == []


def test_the_watch_makes_no_new_wal(lite: Engine, file: Path) -> None:
    """It lets go of the removed one, so that the next transaction can save what is in it."""
    watch = SqliteWatch(file)
    assert watch.changed()
    assert not watch.changed()
    remove(file)
    assert watch.changed()
    assert watch.changed()
    assert not file.with_name("shop.db-wal").exists()
    add(lite, "after")
    watch.changed()
    assert not watch.changed()
    add(lite, "later")
    assert watch.changed()
    watch.close()
    assert events(file) == ["before", "after", "later"]


def test_a_file_without_a_wal_has_nothing_to_lose(file: Path, sqlite_url: str) -> None:
    """In rollback mode nothing lies beside it."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    engine = open_engine(sqlite_url)
    for _ in range(2):
        with glancing(engine) as tx:
            tx.exec_driver_sql("SELECT count(*) FROM shipper_outbox").all()
    engine.dispose()


@pytest.mark.parametrize("aside", ["shop.db", "old.db"], ids=["over", "aside"])
def test_a_file_that_took_the_place_of_an_open_one_is_never_opened_with_its_wal(
    lite: Engine, file: Path, sqlite_url: str, tmp_path: Path, aside: str
) -> None:
    """Pages of the one would be written into the other; who has the one before open may stay."""
    other = tmp_path / "other.db"
    back_up(file, other)
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        application.tell("late")
        assert application.said() == "committed"
        file.rename(file.with_name(aside))
        other.rename(file)
        engine = open_engine(sqlite_url, busy_timeout=0.2)
        with pytest.raises(StoreUnavailable, match=f"process {application.pid} ") as caught:
            add(engine, "refused")
        assert "stop what has the old one open" in str(caught.value.hint)
        for _ in range(2):
            with pytest.raises(LeaseLost, match="another file lies in the place"):
                add(lite, "refused")
        kept = file.with_name("shop.db.shipper.replaced-wal")
        assert kept.read_bytes()[:2] == b"\x37\x7f"
        add(engine, "after")
        application.tell("lost")
        assert application.said() == "committed"
    assert events(file) == ["before", "after"]
    engine.dispose()


def test_a_second_name_is_told_once(lite: Engine, file: Path, told: list[str]) -> None:
    """Whoever opens it by that has a WAL of his own; a backup that only links does no harm."""
    other = file.with_name("other.db")
    for _ in range(2):
        other.hardlink_to(file)
        for name in ("a", "b"):
            add(lite, f"{name}{len(told)}")
        other.unlink()
        add(lite, f"c{len(told)}")
    assert len(told) == 2
    assert told[0] == told[1]
    assert "shop.db has 2 names (hard links)" in told[0]

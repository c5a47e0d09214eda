"""The -wal and -shm of an open file are removed: nothing that was committed is lost for that.

Every other process is a real one, because SQLite's locks are between processes.
"""

import errno
import os
import shutil
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from shipper.errors import LeaseLost, StoreUnavailable
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite import before_opening
from shipper.store.db.transactions import glancing, reading, writing
from shipper.store.drain.changes import SqliteWatch
from shipper.store.operate.backup import back_up
from shipper.store.schema.revisions import REVISIONS
from shipper.store.upgrade.migrate import fix, prepare, upgrade
from shipper.system.files import Directory
from tests.store import older
from tests.store.processes import Process, process

BOTH = ("-wal", "-shm")
EITHER = [BOTH, ("-wal",), ("-shm",)]


def _within_one_another(engine: Engine) -> None:
    with glancing(engine) as outer, reading(engine) as inner:
        for tx in (outer, inner):
            tx.exec_driver_sql("SELECT count(*) FROM shipper_outbox").all()


def _raw(engine: Engine) -> None:
    with closing(engine.raw_connection()) as connection:
        connection.cursor().execute("SELECT count(*) FROM shipper_outbox").fetchall()


def _plain(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM shipper_outbox").all()


USES = {
    "one within another": _within_one_another,
    "the driver's": _raw,
    "SQLAlchemy's": _plain,
    "upgrade": upgrade,
    "fix": fix,
}

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
connection.close()
"""

# Has taken the first lock of whoever opens a file, and takes no other before it is told to.
OPENER = """
import fcntl, sqlite3, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 510, 0x40000002)
print("locked", flush=True)
sys.stdin.readline()
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("SELECT count(*) FROM shipper_outbox").fetchone()
print("open", flush=True)
sys.stdin.read()
"""

# Reads, and goes on reading.
READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM shipper_outbox").fetchone()
print("reads", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def told() -> list[str]:
    """Collect what is said of a file."""
    return []


@pytest.fixture
def lite(sqlite_url: str, told: list[str]) -> Iterator[Engine]:
    """Give an engine that has written to an outbox and goes on having it open."""
    engine = open_engine(sqlite_url, busy_timeout=0.2, notify=told.append)
    add(engine, "before")
    yield engine
    engine.dispose()


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


def test_no_connection_of_an_upgrade_s_is_in_the_way_of_saving_one(
    tmp_path: Path, told: list[str]
) -> None:
    """The session of a daemon that brought an older outbox up to date goes on with its engine."""
    file = tmp_path / "older.db"
    engine = open_engine(f"sqlite:///{file}", busy_timeout=0.2, create=True, notify=told.append)
    older.make(engine, REVISIONS[-2])
    prepare(engine)
    add(engine, "before")
    remove(file)
    add(engine, "after")
    assert len(told) == 1
    engine.dispose()
    assert events(file) == ["before", "after"]


@pytest.mark.parametrize("use", USES)
def test_an_engine_has_one_connection_open_at_most(
    lite: Engine, file: Path, told: list[str], use: str
) -> None:
    """Whatever was done with it: a second one of ours is in the way as another process's is."""
    USES[use](lite)
    remove(file)
    add(lite, "after")
    assert len(told) == 1
    assert events(file)[-1] == "after"


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


def test_each_removed_wal_is_kept_and_told_by_a_name_of_its_own(
    file: Path, sqlite_url: str
) -> None:
    """Each night the same happens: nobody is sent to the file of another night."""
    nights = {"first": "shop.db.shipper.removed-wal", "second": "shop.db.shipper.removed-wal1"}
    for night, name in nights.items():
        engine = open_engine(sqlite_url, busy_timeout=0.2)
        add(engine, night)
        remove(file)
        with process(APPLICATION, str(file)) as application:
            assert application.said() == "open"
            application.tell("anew")
            assert application.said() == "committed"
            application.dies()
        for _ in range(2):
            with pytest.raises(LeaseLost) as caught:
                add(engine, "refused")
            assert str(caught.value).endswith(f"only in {name}")
        engine.dispose()
    kept = [path.name for path in sorted(file.parent.glob("*.removed-wal*"))]
    assert kept == list(nights.values())
    for night, name in nights.items():
        content = file.with_name(name).read_bytes()
        assert [one for one in nights if one.encode() in content] == [night]


def test_a_wal_that_is_still_there_is_not_told_as_lost(lite: Engine, file: Path) -> None:
    """Only the -shm was removed, and who made another one has found what is in the WAL."""
    remove(file, ("-shm",))
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        application.tell("anew")
        assert application.said() == "committed"
        application.dies()
    with pytest.raises(LeaseLost, match=r"is in shop\.db-wal, which is still there"):
        add(lite, "refused")
    lite.dispose()
    assert events(file) == ["before", "anew"]


def test_a_removed_wal_is_waited_for_until_it_can_be_kept(lite: Engine, file: Path) -> None:
    """Where all names are taken nothing is lost: nothing is sent until one is free."""
    taken = [file.with_name(f"shop.db.shipper.removed-wal{n or ''}") for n in range(100)]
    for one in taken:
        one.write_text("of another night")
    remove(file)
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        application.tell("anew")
        assert application.said() == "committed"
        application.dies()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"can't be kept as shop\.db\.shipper\.removed"):
            add(lite, "refused")
    assert {one.read_text() for one in taken} == {"of another night"}
    taken[11].unlink()
    with pytest.raises(LeaseLost, match=r"only in shop\.db\.shipper\.removed-wal11$"):
        add(lite, "refused")
    assert b"before" in taken[11].read_bytes()
    lite.dispose()
    assert "anew" in events(file)


def test_a_removed_wal_is_not_lost_to_a_full_disk(
    lite: Engine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes room to be kept, and is there as long as it is open."""
    remove(file)
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        application.tell("anew")
        assert application.said() == "committed"
        application.dies()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Directory, "make", full)
        with pytest.raises(StoreUnavailable, match="No space left on device; nothing is sent"):
            add(lite, "refused")
    with monkeypatch.context() as patch:
        room = shutil.disk_usage(file.parent)
        patch.setattr(shutil, "disk_usage", lambda _: type(room)(room.total, room.used, 4096))
        with pytest.raises(StoreUnavailable, match="No space left on device; nothing is sent"):
            add(lite, "refused")
    assert not list(file.parent.glob("*.removed-wal*"))  # not even for a moment
    with pytest.raises(LeaseLost, match=r"only in shop\.db\.shipper\.removed-wal$"):
        add(lite, "refused")
    assert b"before" in file.with_name("shop.db.shipper.removed-wal").read_bytes()


def test_a_large_removed_wal_takes_no_memory(lite: Engine, file: Path) -> None:
    """Somebody may have kept it from being checkpointed for a day."""
    with writing(lite) as tx:
        tx.exec_driver_sql("CREATE TABLE orders AS SELECT zeroblob(3500000) AS content")
    size = file.with_name("shop.db-wal").stat().st_size
    assert size > 3_000_000
    remove(file)
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        application.tell("anew")
        assert application.said() == "committed"
        application.dies()
    tracemalloc.start()
    with pytest.raises(LeaseLost, match="only in"):
        add(lite, "refused")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert file.with_name("shop.db.shipper.removed-wal").stat().st_size == size
    assert peak < 1_000_000


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


@pytest.mark.parametrize(("aside", "before"), [("shop.db", 0), ("old.db", 12)])
def test_a_file_that_took_the_place_of_an_open_one_is_never_opened_with_its_wal(
    lite: Engine, file: Path, sqlite_url: str, tmp_path: Path, aside: str, before: int
) -> None:
    """Pages of the one would be written into the other; who has the one before open may stay.

    However often it happened before: each -wal has a name of its own.
    """
    for number in range(before):
        file.with_name(f"shop.db.shipper.replaced-wal{number or ''}").write_text("of another night")
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
        assert "stop the process that has the old file open" in str(caught.value.hint)
        for _ in range(2):
            with pytest.raises(LeaseLost, match="another file lies in the place"):
                add(lite, "refused")
        kept = file.with_name(f"shop.db.shipper.replaced-wal{before or ''}")
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


@pytest.mark.parametrize("suffixes", EITHER, ids="".join)
def test_no_other_wal_is_begun_beside_a_removed_one_that_somebody_has_open(
    lite: Engine, file: Path, sqlite_url: str, suffixes: tuple[str, ...]
) -> None:
    """Nobody of us had it open: who opens the file anew would lose what is in it, or his own."""
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        lite.dispose()
        application.tell("in-it")
        assert application.said() == "committed"
        remove(file, suffixes)
        engine = open_engine(sqlite_url, busy_timeout=0.2)
        for late in ("late", "later"):
            with pytest.raises(StoreUnavailable, match=f"process {application.pid} ") as caught:
                add(engine, "refused")
            assert "end by itself" in str(caught.value.hint)
            application.tell(late)
            assert application.said() == "committed"
        assert not any(file.with_name(file.name + suffix).exists() for suffix in suffixes)
        application.ends()
    add(engine, "after")
    engine.dispose()
    assert events(file) == ["before", "in-it", "late", "later", "after"]


def test_whose_descriptors_are_hidden_is_told_by_his_locks(lite: Engine, file: Path) -> None:
    """Another user's: he locks the file, and not the -shm that is there."""
    lite.dispose()
    with process(OPENER, str(file)) as application:
        assert application.said() == "locked"
        with pytest.raises(StoreUnavailable, match=f"process {application.pid} "):
            add(lite, "refused")


def test_who_is_about_to_open_the_file_is_waited_for(
    lite: Engine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He has locked the file, and not yet the -shm."""
    lite.dispose()
    with process(OPENER, str(file)) as application:
        assert application.said() == "locked"
        monkeypatch.setattr(before_opening, "Event", lambda: GoOn(application))
        add(lite, "after")
    assert events(file) == ["before", "after"]


class GoOn:
    """Waits until another process has done what it was about to do."""

    def __init__(self, other: Process) -> None:
        self._other = other

    def wait(self, _: float) -> None:
        """See to it that it has."""
        self._other.tell("go on")
        assert self._other.said() == "open"


def test_who_reads_a_file_without_a_wal_is_in_nobody_s_way(lite: Engine, file: Path) -> None:
    """He locks the file, too, and there is no -shm."""
    lite.dispose()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    with process(READER, str(file)) as reader:
        assert reader.said() == "reads"
        with glancing(lite) as tx:
            assert tx.exec_driver_sql("SELECT event_id FROM shipper_outbox").scalar() == "before"


def test_who_has_the_file_open_as_we_have_is_in_nobody_s_way(
    lite: Engine, file: Path, sqlite_url: str
) -> None:
    """Idle, in this process or in another."""
    with process(APPLICATION, str(file)) as application:
        assert application.said() == "open"
        second = open_engine(sqlite_url, busy_timeout=0.0)
        add(second, "second")
        lite.dispose()
        add(lite, "first")
        second.dispose()
    assert events(file) == ["before", "second", "first"]

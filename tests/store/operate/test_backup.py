"""A backup is a whole copy of one moment that nobody owns, or there is none."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.errors import AccessDenied, SchemaError, ShipperError, UsageError
from shipper.store.db.engine import database_path, open_engine
from shipper.store.db.sqlite.opening import _sqlite_module, connect_sqlite, create_sqlite_file
from shipper.store.operate import backup
from shipper.store.operate.backup import back_up, pg_dump
from shipper.store.report.verify import verify
from tests import needs
from tests.store.daemons import Daemon, write
from tests.store.shipping import ask, everything, run


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give an SQLite outbox with a table of the application's in it."""
    engine = open_engine(sqlite_url)
    run(engine, "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
    run(engine, "INSERT INTO orders (note) VALUES ('first')")
    yield engine
    engine.dispose()


@pytest.fixture
def source(lite: Engine, sqlite_url: str) -> Path:
    """Give its file."""
    path = database_path(sqlite_url)
    assert path is not None
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Give a name in an empty directory, with what means something in a URL."""
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "50% off?.db"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _opened(path: Path) -> Engine:
    return open_engine("sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F"))


# -- what is in it --------------------------------------------------------------------------------


def test_the_copy_is_the_whole_database(lite: Engine, source: Path, target: Path) -> None:
    """The application's tables too; and there is one file, that needs no other."""
    ids = write(lite, "a", "b", "c")
    Daemon(lite).deliver(ids[0])
    copy = back_up(source, target)
    assert copy.pending == {"default": 2}
    assert copy.maybe_received == 0
    assert copy.size == target.stat().st_size
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    restored = _opened(target)
    assert ask(restored, "SELECT note FROM orders") == [("first",)]
    assert ask(restored, "SELECT * FROM shipper_outbox") == ask(
        lite, "SELECT * FROM shipper_outbox"
    )
    assert ask(restored, "PRAGMA journal_mode") == [("wal",)]
    assert verify(restored) == []
    restored.dispose()


def test_what_was_in_flight_is_repeated_first(lite: Engine, source: Path, target: Path) -> None:
    """Of each key the event that was claimed first; the copy has no lease and no claim."""
    ids = write(lite, "a", "a", "b", "b", None)
    Daemon(lite).claim(*ids[:4])
    assert back_up(source, target).maybe_received == 2
    restored = _opened(target)
    maybe = "SELECT id FROM shipper_outbox WHERE maybe_received = 1 ORDER BY id"
    assert ask(restored, maybe) == [(ids[0],), (ids[2],)]
    assert ask(restored, "SELECT owner, expires_at FROM shipper_lease") == [(None, None)]
    assert ask(restored, "SELECT * FROM shipper_claim") == []
    Daemon(restored).deliver(*ids)
    assert verify(restored) == []
    restored.dispose()


def test_the_source_is_left_as_it_was(lite: Engine, source: Path, target: Path) -> None:
    """Its daemon goes on as if nothing had happened."""
    ids = write(lite, "a", "b")
    daemon = Daemon(lite)
    events = daemon.claim(*ids)
    before = everything(lite)
    back_up(source, target)
    assert everything(lite) == before
    assert len(events) == 2
    daemon.deliver(*ids)


def test_the_copy_is_of_one_moment(
    lite: Engine, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is written while it is made, and it is not begun anew for that."""
    monkeypatch.setattr(backup, "_STEP", 1)
    write(lite, "a")
    steps: list[int] = []

    def told(done: int, _: int) -> None:
        steps.append(done)
        if len(steps) <= 5:
            write(lite, "later")
            run(lite, "INSERT INTO orders (note) VALUES ('later')")

    copy = back_up(source, target, told)
    assert steps == sorted(set(steps))
    assert copy.pending == {"default": 1}
    restored = _opened(target)
    assert ask(restored, "SELECT count(*) FROM orders") == [(1,)]
    restored.dispose()
    assert ask(lite, "SELECT count(*) FROM orders") == [(6,)]


# -- who may read it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_source", "expected"), [(0o660, 0o660), (0o600, 0o600), (0o644, 0o640), (0o666, 0o660)]
)
def test_nobody_reads_the_copy_who_could_not_read_the_file(
    source: Path, target: Path, of_source: int, expected: int
) -> None:
    """And of those who could, nobody beyond its group."""
    source.chmod(of_source)
    back_up(source, target)
    assert _mode(target) == expected


def test_a_copy_that_cannot_be_given_to_the_group_is_ours_alone(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another group must not read it instead."""

    def refuse(*_: object) -> None:
        raise PermissionError

    needs.root()
    os.chown(source, -1, 12345)
    monkeypatch.setattr(os, "fchown", refuse)
    source.chmod(0o660)
    back_up(source, target)
    assert _mode(target) == 0o600


def test_the_copy_goes_to_the_group_of_the_file(source: Path, target: Path) -> None:
    """So that whoever shares the one shares the other."""
    needs.root()
    os.chown(source, -1, 12345)
    source.chmod(0o660)
    back_up(source, target)
    assert target.stat().st_gid == 12345
    assert _mode(target) == 0o660


# -- or there is none -----------------------------------------------------------------------------


def _taking(target: Path) -> Callable[[int, int], None]:
    """Return what lets somebody else take the name while the copy is made."""

    def take(*_: int) -> None:
        target.write_text("precious")

    return take


def _nothing(target: Path) -> bool:
    return list(target.parent.iterdir()) == []


@pytest.mark.parametrize("what", ["file", "link to nowhere", "directory"])
def test_nothing_is_overwritten(source: Path, target: Path, what: str) -> None:
    """Not even by way of a link."""
    if what == "file":
        target.write_text("precious")
    elif what == "directory":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    with pytest.raises(UsageError, match="is there already"):
        back_up(source, target)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert what != "file" or target.read_text() == "precious"


def test_nothing_is_overwritten_that_came_meanwhile(source: Path, target: Path) -> None:
    """Two backups at once: one of them keeps the name."""
    with pytest.raises(UsageError, match="exists by now"):
        back_up(source, target, _taking(target))
    assert target.read_text() == "precious"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("taken", [False, True])
def test_a_file_system_without_links_will_do(
    source: Path,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    taken: bool,  # noqa: FBT001
) -> None:
    """As on a stick."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    if taken:
        with pytest.raises(UsageError, match="exists by now"):
            back_up(source, target, _taking(target))
        assert target.read_text() == "precious"
    else:
        assert back_up(source, target).size == target.stat().st_size


def test_an_interrupted_backup_leaves_nothing(source: Path, target: Path) -> None:
    """Ctrl-C in the middle of it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(source, target, interrupt)
    assert _nothing(target)


def test_a_damaged_file_has_no_good_copy(lite: Engine, source: Path, target: Path) -> None:
    """It says so, and keeps nothing that somebody might rely on."""
    write(lite, *("a" * 200), payload='{"x":"' + "y" * 2000 + '"}')
    lite.dispose()
    with source.open("r+b") as file:
        file.seek(source.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    with pytest.raises(ShipperError, match="damaged"):
        back_up(source, target)
    assert _nothing(target)


def test_what_only_the_application_can_check_is_copied_and_named(
    source: Path, target: Path
) -> None:
    """An index with its collation (drush 5833), a CHECK with its function: the rest is checked."""
    application = _sqlite_module().connect(source)
    application.create_collation("NOCASE_UTF8", lambda a, b: (a > b) - (a < b))
    application.create_function("mine", 1, lambda _: 1, deterministic=True)
    application.executescript(
        "CREATE TABLE node (title TEXT); CREATE INDEX by_title ON node (title COLLATE NOCASE_UTF8);"
        " INSERT INTO node VALUES ('x'), ('a'); CREATE TABLE page (a CHECK (mine(a) = 1));"
        " INSERT INTO page VALUES (4); CREATE TABLE plain (a)"
    )
    application.close()
    copy = back_up(source, target)
    assert sorted(copy.unchecked) == ["node", "page"]
    assert "NOCASE_UTF8" in copy.unchecked["node"]
    assert "mine" in copy.unchecked["page"]
    restored = sqlite3.connect(target)
    restored.create_collation("NOCASE_UTF8", lambda a, b: (a > b) - (a < b))
    assert restored.execute("SELECT title FROM node ORDER BY title COLLATE NOCASE_UTF8").fetchall()
    restored.close()


def test_damage_is_found_beside_what_cannot_be_checked(
    lite: Engine, source: Path, target: Path
) -> None:
    """Table by table."""
    application = _sqlite_module().connect(source)
    application.create_collation("NOCASE_UTF8", lambda a, b: (a > b) - (a < b))
    application.executescript(
        "CREATE TABLE node (title TEXT); CREATE INDEX by_title ON node (title COLLATE NOCASE_UTF8)"
    )
    application.close()
    test_a_damaged_file_has_no_good_copy(lite, source, target)


def test_a_database_without_an_outbox_is_not_ours_to_copy(tmp_path: Path, target: Path) -> None:
    """Somebody named the wrong file."""
    path = tmp_path / "foreign.db"
    create_sqlite_file(path)
    foreign = connect_sqlite(path, 0.0)
    foreign.execute("CREATE TABLE orders (id INTEGER)")
    foreign.close()
    with pytest.raises(SchemaError, match="no outbox"):
        back_up(path, target)
    assert _nothing(target)


def test_a_file_that_is_no_database_is_told(tmp_path: Path, target: Path) -> None:
    """With what it is not."""
    path = tmp_path / "letter.db"
    path.write_text("Dear operator, " * 1000)
    with pytest.raises(SchemaError, match="not an SQLite database"):
        back_up(path, target)
    assert _nothing(target)


def test_a_missing_file_is_told(tmp_path: Path, target: Path) -> None:
    """And is not made."""
    with pytest.raises(SchemaError, match="missing"):
        back_up(tmp_path / "gone.db", target)
    assert _nothing(target)


def test_a_missing_directory_is_told(source: Path, tmp_path: Path) -> None:
    """Backups that go nowhere are found out when they are needed."""
    with pytest.raises(UsageError, match="no directory"):
        back_up(source, tmp_path / "nowhere" / "copy.db")


def test_a_disk_without_room_is_told_before(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the two numbers."""
    usage = shutil.disk_usage(target.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=7))
    with pytest.raises(ShipperError, match=r"it takes \d+ bytes, 7 are free"):
        back_up(source, target)
    assert _nothing(target)


def test_a_directory_that_is_closed_to_us_is_told(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the right exit status."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AccessDenied, match="can't write there"):
        back_up(source, target)


# -- PostgreSQL -----------------------------------------------------------------------------------


def test_a_copy_may_lie_where_an_outbox_may_not(lite: Engine, source: Path, tmp_path: Path) -> None:
    """Nobody opens it there: on a network's disk, as backups do, or here a layer of an overlay."""
    needs.root()
    unshare = needs.program("unshare", "util-linux")
    write(lite, "a")
    (tmp_path / "disk").mkdir()
    script = (
        "mount -t tmpfs none disk && cd disk && mkdir upper lower work whole &&"
        " layers=upperdir=$PWD/upper,lowerdir=$PWD/lower,workdir=$PWD/work &&"
        " mount -t overlay none -o $layers whole && exec $0 -c"
        " 'import sys; from pathlib import Path; from shipper.store.operate.backup import back_up;"
        " print(back_up(Path(sys.argv[1]), Path(sys.argv[2])).pending)' $1 upper/copy.db"
    )
    done = subprocess.run(
        [unshare, "--mount", "sh", "-ec", script, sys.executable, source],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "{'default': 1}\n", done.stderr


def test_postgres_has_a_command_of_its_own() -> None:
    """To be copied into a shell; passwords are not in it."""
    line = pg_dump("postgresql+psycopg://shop:s3cret@db:5433/shop?sslmode=require", Path("a b"))
    assert line == (
        "pg_dump --format=custom '--file=a b' 'postgresql://shop@db:5433/shop?sslmode=require'"
    )
    assert "s3cret" not in pg_dump("postgresql:///shop?user=u&password=s3cret", Path("x"))


def test_two_libraries_agree_on_the_copy(source: Path, target: Path) -> None:
    """The application opens it with its own."""
    back_up(source, target)
    application = sqlite3.connect(target)
    assert application.execute("SELECT note FROM orders").fetchall() == [("first",)]
    application.close()

"""Everything else that root makes, opens or replaces where others may write."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.cli.setup import service
from shipper.demo.command import demo
from shipper.errors import AccessDenied, SchemaError, ShipperError, UsageError
from shipper.sandbox.journal import Journal
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import create_sqlite_file
from shipper.store.upgrade.migrate import upgrade
from shipper.store.upkeep.reserve import Reserve, held, reserve_of
from shipper.system import drafts, files
from shipper.system.files import Directory, Untrusted
from tests.cli.command_line import Home
from tests.security.conftest import APP, GROUP, MEMBER, Shared

LEADS = ["treasure", "treasure.parent / 'made'"]


# -- the reserve ----------------------------------------------------------------------------------

RESERVES = {
    "a link": "os.symlink(treasure, place)",
    "a dangling link": "os.symlink(treasure.parent / 'made', place)",
    "a hard link": "(shop / 'x').touch(); os.link(shop / 'x', place)",
    "a pipe": "os.mkfifo(place)",
    "a socket": "socket.socket(socket.AF_UNIX).bind(str(place))",
    "a file": "place.write_text('x' * 100)",
}


@pytest.mark.parametrize("planted", RESERVES)
def test_a_reserve_is_never_of_anybody_else(outbox: Shared, planted: str) -> None:
    """What a member has put there makes room for ours; nothing it leads to is cut."""
    outbox.plants(f"place = shop / 'shop.db.shipper.reserve'\n{RESERVES[planted]}")
    reserve = Reserve(outbox.database, 100_000)
    assert reserve.give(marks=True) == 0
    assert reserve.restore()
    assert held(outbox.database) == 100_000
    status = reserve_of(outbox.database).lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_nlink) == (0o600, 0, 1)
    assert reserve.give(marks=True) > 0
    assert Reserve(outbox.database, 0).restore()
    assert outbox.is_untouched()


# -- a new outbox ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", LEADS)
def test_a_new_outbox_is_made_in_nobodys_place(shared: Shared, lead: str) -> None:
    """Neither through a link in its place, nor through one in its directory's."""
    shared.plants(f"os.symlink({lead}, shop / 'new.db'); os.symlink({lead}, shop / 'made')")
    with pytest.raises(SchemaError, match="is there already"):
        create_sqlite_file(shared.shop / "new.db")
    with pytest.raises((AccessDenied, SchemaError)):
        create_sqlite_file(shared.shop / "made" / "new.db")
    assert shared.is_untouched()


def test_a_new_directory_has_its_mode_and_nothing_else_gets_it(shared: Shared) -> None:
    """Between making it and changing its mode a member may put a link in its place."""
    directory = shared.shop / "deeper"
    create_sqlite_file(directory / "new.db")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o2770
    assert stat.S_IMODE((directory / "new.db").stat().st_mode) == 0o660
    swaps = """
print("begun", flush=True)
while True:
    for number in range(100):
        place = shop / f"d{number}"
        try:
            os.rename(place, shop / f"away{number}")
            os.symlink(treasure.parent, place)
        except OSError:
            pass
"""
    with shared.member(swaps) as member:
        assert member.said() == "begun"
        for number in range(100):
            try:
                create_sqlite_file(shared.shop / f"d{number}" / "new.db")
            except ShipperError:
                continue
    assert shared.is_untouched()
    assert stat.S_IMODE(shared.treasure.parent.stat().st_mode) == 0o755


# -- the database itself --------------------------------------------------------------------------


def test_a_database_is_not_found_through_a_strangers_link(outbox: Shared, tmp_path: Path) -> None:
    """Else root would write into any outbox, and make a WAL beside it."""
    other = outbox.treasure.parent.parent / "other.db"
    engine = open_engine(f"sqlite:///{other}", create=True)
    upgrade(engine)
    engine.dispose()
    outbox.plants(
        "(shop / 'shop.db').unlink(); os.symlink(shop.parent / 'other.db', shop / 'shop.db')"
    )
    ran = Home(tmp_path, outbox.url).call("status")
    assert ran.status == 77
    assert f"is a link that user {MEMBER} made" in ran.err
    ran = Home(tmp_path, f"sqlite:///{other}").call("status")
    assert ran.status == 0


def test_a_database_is_found_through_the_owners_link(outbox: Shared, tmp_path: Path) -> None:
    """Whoever has the directory has the file anyway: releases are switched like that."""
    link = outbox.shop / "current.db"
    link.symlink_to("shop.db")
    os.chown(link, APP, GROUP, follow_symlinks=False)
    assert Home(tmp_path, f"sqlite:///{link}").call("status").status == 0


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("lead", LEADS)
def test_what_sqlite_makes_beside_it_is_no_link(
    outbox: Shared, tmp_path: Path, suffix: str, lead: str
) -> None:
    """SQLite gives what it makes as root to the database's owner."""
    outbox.plants(f"os.symlink({lead}, shop / 'shop.db{suffix}')")
    ran = Home(tmp_path, outbox.url).call("status")
    assert ran.status == 77
    assert f"shop.db{suffix} is a link" in ran.err
    assert outbox.is_untouched()


# -- init -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("name", ["shipper.toml", "api_id"])
def test_init_writes_through_no_link(shared: Shared, tmp_path: Path, lead: str, name: str) -> None:
    """Nor is a configuration left behind whose API ID somebody else has."""
    shared.plants(f"os.symlink({lead}, shop / {name!r})")
    home = Home(tmp_path, shared.url)
    ran = home.call(
        "init", "-o", str(shared.shop / "shipper.toml"), "--database", "sqlite:///new.db",
        "--url", "https://api.example/e", "--api-id", "secret-id",
    )  # fmt: skip
    assert ran.status == 2
    assert "exists already" in ran.err
    assert shared.is_untouched()


def test_init_keeps_what_it_writes_for_root(shared: Shared, tmp_path: Path) -> None:
    """In the directory of a group, with any umask."""
    before = os.umask(0)
    try:
        ran = Home(tmp_path, shared.url).call(
            "init", "-o", str(shared.shop / "shipper.toml"), "--database", "sqlite:///new.db",
            "--url", "https://api.example/e", "--api-id", "secret-id",
        )  # fmt: skip
    finally:
        os.umask(before)
    assert ran.status == 0
    status = (shared.shop / "api_id").lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, 0)
    assert (shared.shop / "api_id").read_text() == "secret-id\n"


# -- logs -----------------------------------------------------------------------------------------


LOGS = {
    "a link": "os.symlink(treasure, place)",
    "a dangling link": "os.symlink(treasure.parent / 'made', place)",
    "a pipe": "os.mkfifo(place)",
    "a file": "place.touch()",
    "a hard link": "(shop / 'x').touch(); os.link(shop / 'x', place)",
}


@pytest.mark.parametrize("planted", LOGS)
def test_a_log_is_appended_to_nothing_of_others(shared: Shared, planted: str) -> None:
    """`shipper sandbox --log`, as root."""
    shared.plants(f"place = shop / 'api.jsonl'\n{LOGS[planted]}")
    with pytest.raises(UsageError, match="can't write its log"):
        Journal(shared.shop / "api.jsonl")
    assert shared.is_untouched()


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    """Through a link of our own, too, and to what everybody writes to."""
    (tmp_path / "log").write_text("before\n")
    (tmp_path / "link").symlink_to("log")
    journal = Journal(tmp_path / "link")
    journal._file.write(b"after\n")
    journal.close()
    assert (tmp_path / "log").read_text() == "before\nafter\n"
    Journal(Path("/dev/null")).close()


@pytest.mark.parametrize("name", ["shipper.log", "api.jsonl", "shop.db"])
@pytest.mark.parametrize("lead", LEADS)
def test_a_demo_is_kept_where_nobody_has_put_links(shared: Shared, name: str, lead: str) -> None:
    """The file of the shop, of the API and of the log."""
    shared.plants(f"os.symlink({lead}, shop / {name!r})")
    with pytest.raises(ShipperError):
        demo(0.1, shared.shop, as_json=True)
    assert shared.is_untouched()


# -- units and assets -----------------------------------------------------------------------------


@pytest.mark.parametrize("lead", LEADS)
def test_units_and_assets_replace_a_link_and_not_what_it_leads_to(
    shared: Shared, tmp_path: Path, lead: str
) -> None:
    """As root, in whatever directory."""
    names = "('shipper.1', 'shipper.service.new')"
    shared.plants(f"for name in {names}: os.symlink({lead}, shop / name)")
    home = Home(tmp_path, shared.url)
    assert home.call("assets", "write", str(shared.shop)).status == 2
    assert home.call("assets", "write", "--force", str(shared.shop)).status == 0
    service._write(shared.shop / "shipper.service", "[Unit]\n")
    assert shared.is_untouched()
    for name, mode in (("shipper.1", 0o644), ("shipper.service", 0o644)):
        status = (shared.shop / name).lstat()
        assert (stat.S_ISREG(status.st_mode), stat.S_IMODE(status.st_mode)) == (True, mode)
        assert status.st_uid == 0


@pytest.mark.parametrize("kind", ["link", "pipe", "mask"])
def test_a_unit_that_is_no_file_is_a_persons(shared: Shared, kind: str) -> None:
    """`systemctl mask` leaves a link to /dev/null; it is neither read nor replaced."""
    place = shared.shop / "shipper.service"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/null" if kind == "mask" else shared.treasure)
    with pytest.raises(UsageError, match=r"is a link|is not a file"):
        service._refuse_foreign({place: "[Unit]\n"}, "shipper.service")
    with pytest.raises(UsageError):
        service._write(place, "[Unit]\n")
    assert shared.is_untouched()


# -- the module itself ----------------------------------------------------------------------------


def test_a_path_is_reached_as_the_kernel_would(tmp_path: Path) -> None:
    """Through links of ours, relative and absolute ones, dots and doubled slashes."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "up").symlink_to("a/b/..")
    (tmp_path / "there").symlink_to(tmp_path / "up" / "b")
    for path in ("a/b", "up/b", "there", "there/../b", "./up//b/."):
        with Directory(tmp_path / path) as found:
            assert os.path.samestat(found.status(), (tmp_path / "a" / "b").stat())
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="symbolic links"):
        Directory(tmp_path / "round")
    with pytest.raises(FileNotFoundError):
        Directory(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError):
        Directory(_file(tmp_path / "file"))


def _file(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize("planted", ["a circle", "a link that goes while it is read"])
def test_where_a_path_leads_is_said_of_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """Python's own ways to ask raise for these, and each look at an outbox asks."""
    path = tmp_path / "shop.db"
    path.symlink_to(tmp_path / "shop.db")
    if planted != "a circle":
        read_link = os.readlink

        def racing(name: str) -> str:
            if path.is_symlink():
                path.unlink()
            return read_link(name)

        monkeypatch.setattr(os, "readlink", racing)
    assert files.followed(path) == path


def test_an_outbox_that_is_a_circle_of_links_is_told(outbox: Shared, tmp_path: Path) -> None:
    """By every command alike, with the path."""
    outbox.plants("(shop / 'a').symlink_to('b'); (shop / 'b').symlink_to('a')")
    home = Home(tmp_path, f"sqlite:///{outbox.shop}/a")
    for words in ("status", "check", "doctor", "backup copy.db"):
        ran = home.call(*words.split())
        assert ran.status in {1, 77, 78}, words
        assert f"{outbox.shop}/a" in ran.out + ran.err
        assert "Traceback" not in ran.err


def test_a_directory_is_not_changed_with_its_name(tmp_path: Path) -> None:
    """It is held by its descriptor."""
    (tmp_path / "one").mkdir()
    with Directory(tmp_path / "one") as held_open:
        (tmp_path / "one").rename(tmp_path / "other")
        (tmp_path / "one").mkdir()
        os.close(held_open.make("made", 0o640))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["made"]
    assert list((tmp_path / "one").iterdir()) == []


def _open_in_directory(path: Path) -> None:
    with Directory(path.parent) as directory:
        directory.open(path.name, os.O_RDWR)


def _open_own(path: Path) -> None:
    files.open_own(path, os.O_WRONLY)


@pytest.mark.parametrize("opens", [_open_in_directory, _open_own])
def test_what_is_refused_leaves_no_descriptor(
    shared: Shared, opens: Callable[[Path], None]
) -> None:
    """Root's daemon may be asked for ever."""
    shared.plants("(shop / 'x').touch(); os.link(shop / 'x', shop / 'y')")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(Untrusted):
            opens(shared.shop / "x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_replaced_file_is_whole_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a draft is left."""
    place = tmp_path / "file"
    drafts.replace(place, b"one")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        drafts.replace(place, b"two")
    assert place.read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize("planted", ["a file", "a link"])
def test_root_takes_no_strangers_configuration_that_only_lies_there(
    outbox: Shared, planted: str
) -> None:
    """It could send any file's first line, as an API ID, to wherever it says."""
    home = Home(outbox.shop, outbox.url)
    if planted == "a file":
        os.chown(home.config, MEMBER, GROUP)
        why = f"belongs to user {MEMBER}"
    else:
        home.config.rename(outbox.shop / "other.toml")
        outbox.plants("os.symlink(shop / 'other.toml', shop / 'shipper.toml')")
        why = f"is a link that user {MEMBER} made"
    ran = home.call("status")
    assert ran.status == 77
    assert why in ran.err
    assert "-c shipper.toml" in ran.err
    assert home.call("status", "-c", "shipper.toml").status == 0
    assert home.call("status", SHIPPER_CONFIG="shipper.toml").status == 0
    if planted == "a file":  # who has become root by sudo means what is theirs
        assert home.call("status", SUDO_UID=str(MEMBER)).status == 0


def test_root_takes_its_own_configuration(outbox: Shared) -> None:
    """Wherever it lies."""
    assert Home(outbox.shop, outbox.url).call("status").status == 0

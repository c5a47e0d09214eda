"""A backup or an export that root makes where others may write goes where root meant, or nowhere.

What is in it is never readable for more people than the outbox was.
"""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.errors import ShipperError, UsageError
from shipper.store.db.engine import open_engine
from shipper.store.operate import backup
from shipper.store.operate.backup import back_up
from shipper.store.report.verify import verify
from tests.cli.command_line import Home
from tests.security.conftest import GROUP, Shared
from tests.store.daemons import write


@pytest.fixture
def filled(outbox: Shared) -> Shared:
    """Give an outbox with some events in it."""
    engine = open_engine(outbox.url)
    write(engine, *("a" * 50))
    engine.dispose()
    return outbox


def _partial(shop: Path) -> Path:
    (found,) = (path for path in shop.iterdir() if path.name.endswith(".partial"))
    return found


# What a member can do to the directory of a draft.
SWAPS: dict[str, Callable[[Shared, Path], object]] = {
    "a link to root's directory": lambda shared, place: place.symlink_to(shared.treasure.parent),
    "another directory": lambda _, place: place.mkdir(),
    "nothing": lambda _, __: None,
}


@pytest.mark.parametrize("swap", SWAPS)
def test_a_copy_whose_place_is_changed_meanwhile_is_not_written_elsewhere(
    filled: Shared, swap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes paths: what it opens by one is looked at before it is written."""
    monkeypatch.setattr(backup, "_STEP", 1)
    swapped: list[Path] = []

    def told(_: int, __: int) -> None:
        if not swapped:
            swapped.append(_partial(filled.shop))
            swapped[0].rename(filled.shop / "away")
            SWAPS[swap](filled, swapped[0])

    with pytest.raises(ShipperError):
        back_up(filled.database, filled.shop / "copy.db", told)
    assert swapped
    assert not (filled.shop / "copy.db").exists()
    assert filled.is_untouched()
    away = filled.shop / "away"
    assert not away.is_symlink()
    assert list(away.iterdir()) == []


def test_nobody_else_sees_a_draft(filled: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor can put anything beside it, whatever the outbox's directory lets them do."""
    seen: list[str] = []
    monkeypatch.setattr(backup, "_STEP", 1)

    def told(_: int, __: int) -> None:
        if seen:
            return
        partial = _partial(filled.shop)
        program = f"""
partial = shop / {partial.name!r}
for act in (lambda: os.listdir(partial), lambda: (partial / "x").touch()):
    try:
        act()
    except PermissionError:
        print("refused", flush=True)
    else:
        print("done", flush=True)
"""
        with filled.member(program) as member:
            seen.extend([member.said(), member.said()])

    back_up(filled.database, filled.shop / "copy.db", told)
    assert seen == ["refused", "refused"]


RACES = """
print("begun", flush=True)
number = 0
while True:
    for path in shop.iterdir():
        number += 1
        away = shop / f"away{number}"
        try:
            if path.name.endswith(".partial"):
                os.rename(path, away)
                os.symlink(treasure.parent, path)
            elif path.name == "copy":
                os.unlink(path)
                os.symlink(treasure, path)
        except OSError:
            pass
"""


def test_who_races_with_a_backup_gains_nothing(filled: Shared) -> None:
    """It succeeds, or says why not; nothing of root's is touched."""
    with filled.member(RACES) as member:
        assert member.said() == "begun"
        for number in range(25):
            try:
                back_up(filled.database, filled.shop / f"copy{number}")
            except ShipperError:
                continue
    assert filled.is_untouched()


def test_a_copy_of_roots_belongs_to_the_group_of_the_outbox(filled: Shared) -> None:
    """And is a whole outbox, with its WAL."""
    target = filled.shop / "copy.db"
    back_up(filled.database, target)
    status = target.lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o660, 0, GROUP)
    assert target.read_bytes()[18:20] == b"\x02\x02"
    engine = open_engine(f"sqlite:///{target}")
    assert verify(engine) == []
    engine.dispose()


@pytest.mark.parametrize("lead", ["treasure", "treasure.parent / 'made'"])
def test_a_name_that_is_taken_by_a_link_is_refused(filled: Shared, lead: str) -> None:
    """Wherever it leads to."""
    filled.plants(f"os.symlink({lead}, shop / 'copy.db')")
    with pytest.raises(UsageError, match="is there already"):
        back_up(filled.database, filled.shop / "copy.db")
    assert filled.is_untouched()


@pytest.mark.parametrize("command", ["backup", "events export", "events export --hand-over"])
def test_a_directory_that_is_somebody_elses_link_is_refused(
    filled: Shared, tmp_path: Path, command: str
) -> None:
    """Else a file whose content they have chosen would lie in /etc/cron.d."""
    filled.plants("os.symlink(treasure.parent, shop / 'backups')")
    home = Home(tmp_path, filled.url)
    words, *options = command.split(" --")
    ran = home.call(
        *words.split(), str(filled.shop / "backups" / "copy"), *(f"--{o}" for o in options)
    )
    assert ran.status == 77
    assert "is a link that user" in ran.err
    assert filled.is_untouched()


def test_an_export_of_roots_is_readable_for_root_alone(filled: Shared, tmp_path: Path) -> None:
    """Whatever the directory is like, and a member's own umask."""
    home = Home(tmp_path, filled.url)
    ran = home.call("events", "export", str(filled.shop / "copy.jsonl"))
    assert ran.status == 0
    status = (filled.shop / "copy.jsonl").lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, 0)
    assert len((filled.shop / "copy.jsonl").read_text().splitlines()) == 50
    assert [path.name for path in filled.shop.iterdir() if "partial" in path.name] == []


def test_a_link_that_root_made_is_followed(filled: Shared, tmp_path: Path) -> None:
    """As an operator's own disk for backups is."""
    disk = filled.treasure.parent.parent / "disk"
    disk.mkdir()
    (filled.treasure.parent.parent / "backups").symlink_to(disk)
    back_up(filled.database, filled.treasure.parent.parent / "backups" / "copy.db")
    assert [path.name for path in disk.iterdir()] == ["copy.db"]

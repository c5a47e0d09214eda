"""Modes, groups, disks: what they mean for the daemon's user, and how to mend them."""

import grp
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from shipper.doctor import files
from shipper.doctor.access import User
from shipper.doctor.files import (
    check_budget,
    check_config,
    check_directory,
    check_disk,
    check_file_system,
    check_files,
    check_reserve,
    check_user,
)
from shipper.doctor.result import CheckLevel, CheckResult
from shipper.errors import SchemaError
from shipper.store.db.sqlite.opening import create_sqlite_file
from shipper.store.report.budget import Footprint
from shipper.store.report.facts import Growth
from shipper.store.upkeep.reserve import Reserve
from shipper.wording.quantities import size

_Usage = namedtuple("_Usage", "total used free")  # noqa: PYI024 - as shutil's

# A user of our own group who is neither root nor the owner of anything here.
FELLOW = User("fellow", 54321, frozenset({os.getegid()}), "of the test")
STRANGER = User("stranger", 54322, frozenset({54322}), "of the test")


@pytest.fixture
def path(public_path: Path) -> Path:
    """Give a file as `init` makes it, in a directory as `init` makes it."""
    path = public_path / "shop" / "shop.db"
    create_sqlite_file(path)
    return path


def _only(found: object) -> CheckResult:
    [finding] = list(found)  # type: ignore[call-overload]
    assert isinstance(finding, CheckResult)
    return finding


def test_what_init_makes_is_well_for_the_group(path: Path) -> None:
    """And not for anybody else."""
    assert _only(check_directory(path, FELLOW)).level is CheckLevel.OK
    assert _only(check_files(path, FELLOW)).level is CheckLevel.OK
    assert _only(check_directory(path, STRANGER)).level is CheckLevel.FAULT
    assert _only(check_files(path, STRANGER)).level is CheckLevel.FAULT


@pytest.mark.parametrize(
    ("mode", "user", "levels"),
    [(0o640, FELLOW, []), (0o644, STRANGER, []), (0o600, FELLOW, [CheckLevel.FAULT]),
     (0o640, STRANGER, [CheckLevel.FAULT])],
)  # fmt: skip
def test_the_one_who_ships_has_to_read_the_configuration(
    public_path: Path, mode: int, user: User, levels: list[CheckLevel]
) -> None:
    """One with a password in it may be private; then it has to be the service's, too."""
    config = public_path / "config.toml"
    config.touch()
    config.chmod(mode)
    found = list(check_config([config, config.with_name("nowhere")], user))
    assert [finding.level for finding in found] == levels
    assert all(f"chmod 640 {config}" in str(finding.fix) for finding in found)
    assert list(check_config([], user)) == []


def test_the_mode_and_the_owners_are_shown(path: Path) -> None:
    """So that nobody has to look for them."""
    told = _only(check_directory(path, FELLOW)).text
    assert told.startswith(f"{path.parent} 2770 ")


@pytest.mark.parametrize(
    ("mode", "level", "fix"),
    [
        (0o2770, CheckLevel.OK, None),
        (0o3770, CheckLevel.FAULT, "chmod -t"),
        (0o770, CheckLevel.WARNING, "chmod g+s"),
        (0o2750, CheckLevel.FAULT, "chmod 2770"),
        (0o700, CheckLevel.FAULT, "chmod 2770"),
    ],
)
def test_the_mode_of_the_directory(
    path: Path, mode: int, level: CheckLevel, fix: str | None
) -> None:
    """SQLite makes its -wal and -shm in it, as whoever comes first."""
    path.parent.chmod(mode)
    finding = _only(check_directory(path, FELLOW))
    assert finding.level is level
    assert (finding.fix is None) if fix is None else (fix in str(finding.fix))


@pytest.mark.parametrize(
    ("mode", "level"),
    [(0o660, CheckLevel.OK), (0o640, CheckLevel.FAULT), (0o600, CheckLevel.FAULT)],
)
def test_the_mode_of_the_file(path: Path, mode: int, level: CheckLevel) -> None:
    """Its group has to write it."""
    path.chmod(mode)
    assert _only(check_files(path, FELLOW)).level is level


def test_the_fix_names_a_group_that_helps(path: Path) -> None:
    """Of a directory whose group the service isn't in, that group would be no help."""
    path.parent.chmod(0o2750)
    odd = User("odd", 54321, frozenset({54321}), "of the test")
    assert "chgrp 54321 " in str(_only(check_directory(path, odd)).fix)
    assert f"chgrp {grp.getgrgid(path.parent.stat().st_gid).gr_name} " in str(
        _only(check_directory(path, FELLOW)).fix
    )


@pytest.mark.parametrize(
    ("there", "wanted", "level", "text"),
    [
        (800_000, 800_000, CheckLevel.OK, "to record deliveries on a full disk"),
        (200_000, 800_000, CheckLevel.FAULT, "200.0 kB of 800.0 kB are left: the disk was full"),
        (0, 800_000, CheckLevel.WARNING, "none of 800.0 kB is there"),
        (0, 0, CheckLevel.OK, "none is configured"),
    ],
)
def test_a_reserve_that_was_given_up_is_told(
    path: Path, there: int, wanted: int, level: CheckLevel, text: str
) -> None:
    """Until the daemon has taken it again."""
    assert Reserve(path, there).restore()
    finding = _only(check_reserve(path, wanted))
    assert finding.level is level
    assert text in finding.text


@pytest.mark.parametrize(
    ("taken", "budget", "level"),
    [
        (5, None, CheckLevel.OK),
        (5, 10, CheckLevel.OK),
        (8, 10, CheckLevel.WARNING),
        (11, 10, CheckLevel.FAULT),
    ],
)
def test_a_budget_is_told(taken: int, budget: int | None, level: CheckLevel) -> None:
    """Before it is used up."""
    assert _only(check_budget(Footprint(taken, False, Growth(0, 0), budget))).level is level


def test_a_file_that_only_its_owner_writes_in_a_shared_directory(path: Path) -> None:
    """The owner sees nothing of it; the application's user would."""
    path.chmod(0o640)
    owner = User("owner", path.stat().st_uid, frozenset(), "of the test")
    finding = _only(check_files(path, owner))
    assert finding.level is CheckLevel.WARNING
    assert f"chmod 660 {path}" in str(finding.fix)


def test_a_wal_that_somebody_else_made_is_told(path: Path) -> None:
    """It was born with other modes than the file has now."""
    wal = path.with_name("shop.db-wal")
    wal.touch()
    wal.chmod(0o640)
    finding = _only(check_files(path, FELLOW))
    assert finding.level is CheckLevel.FAULT
    assert str(wal) in finding.text
    assert finding.fix == f"chgrp --reference={path} {wal}; chmod --reference={path} {wal}"


def test_a_user_is_told_with_groups_and_reason() -> None:
    """Also one that no list of users knows."""
    assert "who asks" in _only(check_user(User.of(os.geteuid(), "who asks"))).text
    assert _only(check_user(User.of(54323, "from a container"))).text == "54323 (from a container)"


def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do instead."""
    assert _only(check_file_system(path)).level is CheckLevel.OK

    def refuse(_: Path) -> None:
        raise SchemaError("it lies on nfs", "put it on a local disk")

    monkeypatch.setattr(files, "refuse_unusable_file", refuse)
    with pytest.raises(SchemaError):
        list(check_file_system(path))


@pytest.mark.parametrize(
    ("free", "a_day", "level", "words"),
    [
        (100e9, 0, CheckLevel.OK, "100.0 GB free"),
        (100e9, 1_000_000, CheckLevel.OK, "at today's rate not full within ten years offline"),
        (100e9, 2_000_000_000, CheckLevel.OK, "full in 50 days at today's rate offline"),
        (18e9, 2_000_000_000, CheckLevel.WARNING, "full in 9 days at today's rate offline"),
        (1.5e9, 2_000_000_000, CheckLevel.FAULT, "full in 18 hours"),
        (500e6, 0, CheckLevel.WARNING, "500.0 MB free"),
        (30e6, 0, CheckLevel.FAULT, "30.0 MB free"),
    ],
)
def test_the_disk_is_told_before_it_is_full(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: float,
    a_day: int,
    level: CheckLevel,
    words: str,
) -> None:
    """By what is left, and by what a day without the API takes."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(1e12, 0, free))
    finding = _only(check_disk(path, Growth(a_day // 1000, 1000)))
    assert words in finding.text
    assert finding.level is level
    assert (finding.fix is None) is (level is CheckLevel.OK)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3.2e12, "3200.0 GB")]
)
def test_sizes_are_for_people(count: float, text: str) -> None:
    """In powers of ten, as disks are sold."""
    assert size(count) == text

"""A directory whose time hasn't changed needn't be looked through; but not for long."""

import os
from pathlib import Path

import pytest

from shipper.store.db.sqlite.unchanged import CheckedDirectory


class Clock:
    """A clock that stands still unless it is moved."""

    now = 100.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return one."""
    return Clock()


@pytest.fixture
def still(tmp_path: Path, clock: Clock) -> CheckedDirectory:
    """Return a directory that was checked, and is trusted now."""
    still = CheckedDirectory(tmp_path, clock)
    assert not still.is_unchanged()
    still.checked()
    clock.now += 0.03
    assert (
        not still.is_unchanged()
    )  # its time was new at the check: more may have changed in that tick
    still.checked()
    return still


def test_it_is_trusted_for_a_moment(still: CheckedDirectory, clock: Clock) -> None:
    """A link above it, or a slow clock of its file system, would never show."""
    clock.now += 0.049
    assert still.is_unchanged()
    clock.now += 0.002
    assert not still.is_unchanged()


@pytest.mark.parametrize("change", ["made", "removed", "renamed"])
def test_every_change_of_a_name_shows(
    tmp_path: Path, still: CheckedDirectory, clock: Clock, change: str
) -> None:
    """Until the files were checked again."""
    (tmp_path / "shop.db-wal").touch()
    clock.now += 0.03
    still.is_unchanged()
    still.checked()
    clock.now += 0.03
    still.is_unchanged()
    still.checked()
    assert still.is_unchanged()
    before = tmp_path.stat().st_mtime_ns
    while tmp_path.stat().st_mtime_ns == before:  # the kernel's clock ticks every few ms
        if change == "made":
            (tmp_path / "shop.db-shm").touch()
            (tmp_path / "shop.db-shm").unlink()
        elif change == "removed":
            (tmp_path / "shop.db-wal").unlink()
            (tmp_path / "shop.db-wal").touch()
        else:
            os.replace(tmp_path / "shop.db-wal", tmp_path / "shop.db-wal.old")  # noqa: PTH105
            os.replace(tmp_path / "shop.db-wal.old", tmp_path / "shop.db-wal")  # noqa: PTH105
    assert not still.is_unchanged()
    clock.now += 0.001
    assert not still.is_unchanged()


def test_a_directory_that_is_gone_is_not_still(
    tmp_path: Path, still: CheckedDirectory, clock: Clock
) -> None:
    """Nor is another one in its place."""
    there = tmp_path / "there"
    there.mkdir()
    still = CheckedDirectory(there, clock)
    still.is_unchanged()
    clock.now += 0.03
    still.is_unchanged()
    still.checked()
    assert still.is_unchanged()
    there.rename(tmp_path / "elsewhere")
    assert not still.is_unchanged()
    there.mkdir()
    assert not still.is_unchanged()

"""Room is given up piece by piece, the last for marks alone, and never by touching what isn't ours.

That it helps a daemon on a disk that is really full: `daemon/test_daemon_space.py`.
"""

import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper.errors import DiskFull
from shipper.policy.event import Event
from shipper.store.db.transactions import Follow
from shipper.store.drain.messages import Work
from shipper.store.drain.queue import Queue, ask_nothing
from shipper.store.upkeep.full_disk import QueueWithReserve
from shipper.store.upkeep.reserve import FOR_MARKS, PIECES, Reserve, held, reserve_of
from shipper.system.steps import Mark, Steps, whole

SIZE = 800_000
_Usage = namedtuple("_Usage", "total used free")  # noqa: PYI024 - as shutil's


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the place of an outbox; the reserve doesn't need it to be there."""
    return tmp_path / "shop.db"


def test_it_takes_room_on_the_disk_and_nobody_else_can_read_it(path: Path) -> None:
    """Blocks, and not only a length."""
    reserve = Reserve(path, SIZE)
    assert reserve.held == 0
    assert reserve.restore()
    assert reserve.held == SIZE
    status = reserve_of(path).stat()
    assert status.st_blocks * 512 >= SIZE
    assert status.st_mode & 0o777 == 0o600
    assert reserve.restore()


def test_a_file_with_a_length_and_no_blocks_keeps_nothing(path: Path) -> None:
    """As a copy may have become."""
    reserve_of(path).touch()
    os.truncate(reserve_of(path), SIZE)
    assert held(path) == 0
    assert Reserve(path, SIZE).restore()
    assert held(path) == SIZE


def test_a_tight_disk_is_no_reason_to_keep_more_than_is_wanted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies there stays enough, and a smaller one gives the rest back."""
    assert Reserve(path, SIZE).restore()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(1e12, 0, 0))
    assert Reserve(path, SIZE).restore()
    assert Reserve(path, SIZE // 2).restore()
    assert held(path) == SIZE // 2
    assert not Reserve(path, SIZE).restore()


def test_pieces_are_given_until_those_for_marks_are_left(path: Path) -> None:
    """And these for marks alone."""
    reserve = Reserve(path, SIZE)
    reserve.restore()
    given = [reserve.give(marks=False) for _ in range(PIECES)]
    assert given == [SIZE // PIECES] * (PIECES - FOR_MARKS) + [0] * FOR_MARKS
    assert reserve.held == SIZE // PIECES * FOR_MARKS
    assert [reserve.give(marks=True) for _ in range(3)] == [SIZE // PIECES] * FOR_MARKS + [0]
    assert reserve.restore()
    assert reserve.held == SIZE


def test_it_is_not_made_where_it_would_fill_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times as much has to stay free."""
    reserve = Reserve(path, SIZE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(1e12, 0, 5 * SIZE - 1))
    assert not reserve.restore()
    assert not reserve_of(path).exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(1e12, 0, 5 * SIZE))
    assert reserve.restore()


def test_a_smaller_setting_gives_the_rest_back(path: Path) -> None:
    """And none takes the file away."""
    assert Reserve(path, SIZE).restore()
    assert Reserve(path, SIZE // 2).restore()
    assert held(path) == SIZE // 2
    assert Reserve(path, 0).restore()
    assert not reserve_of(path).exists()
    assert Reserve(path, 0).restore()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_what_leads_to_another_file_is_not_followed(
    path: Path, link: Callable[[Path, Path], None]
) -> None:
    """Whoever may write into the directory must not choose what is cut; the name is ours."""
    treasure = path.with_name("treasure")
    treasure.write_bytes(b"x" * SIZE)
    link(treasure, reserve_of(path))
    reserve = Reserve(path, SIZE // 2)
    assert reserve.give(marks=True) == 0
    assert reserve.restore()
    assert reserve.held == SIZE // 2
    assert treasure.read_bytes() == b"x" * SIZE


def test_a_directory_of_that_name_is_left_alone(path: Path) -> None:
    """Then there is none."""
    reserve_of(path).mkdir()
    reserve = Reserve(path, SIZE)
    assert not reserve.restore()
    assert (reserve.held, reserve.give(marks=True)) == (0, 0)


class Full(Queue):
    """A queue whose next writes fail for want of room."""

    def __init__(self, times: int) -> None:
        self.times = times

    def steps(self, work: Work, follow: Follow = ask_nothing) -> Steps[list[Event]]:
        """Fail, or do nothing."""
        assert work
        assert follow is ask_nothing
        yield Mark.COMMIT
        self.times -= 1
        if self.times >= 0:
            raise DiskFull("the disk is full (13)")
        return []


def test_a_write_is_tried_again_for_each_piece(path: Path) -> None:
    """At once; when nothing is left the failure is everybody's matter."""
    reserve = Reserve(path, SIZE)
    reserve.restore()
    told: list[int] = []
    spared = QueueWithReserve(Full(2), reserve, told.append)
    assert whole(spared.steps(Work(now=0.0, wanted=[1]))) == []
    assert told == [SIZE // PIECES] * 2
    with pytest.raises(DiskFull):
        whole(QueueWithReserve(Full(99), reserve, told.append).steps(Work(now=0.0, wanted=[1])))
    assert len(told) == PIECES - FOR_MARKS

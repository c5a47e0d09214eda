"""A daemon that can't write says so where `status` finds it."""

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.store.db.engine import open_engine
from shipper.store.lease.file_lock import FileLock
from shipper.store.report.silence import Noted, find_silence, note, noted, silent_seconds
from tests.store.daemons import Daemon, tamper

NOW = 86_400.0
"""Seconds since the boot."""
WELL = Noted(NOW)
LOST = Noted(NOW - 60.0, NOW - 40.0, "no room")


@pytest.fixture
def file(sqlite_url: str) -> Path:
    """Give the file of a fresh outbox."""
    return Path(sqlite_url.removeprefix("sqlite:///"))


def test_what_is_noted_beside_a_file_is_told_while_its_lock_is_held(
    sqlite_url: str, file: Path
) -> None:
    """What a daemon that is dead had noted is over, and so is what it took back."""
    engine, lock = open_engine(sqlite_url), FileLock(file)
    lock.acquire()
    assert find_silence(engine, NOW) is None
    note(file, WELL)
    assert find_silence(engine, NOW) is None
    note(file, LOST)
    assert find_silence(engine, NOW) == (40.0, "no room")
    lock.release()
    assert find_silence(engine, NOW) is None
    lock.acquire()
    assert find_silence(engine, NOW) is None
    lock.release()
    engine.dispose()


@pytest.mark.parametrize(
    ("seen", "told"),
    [(NOW, None), (NOW - 27.0, None), (NOW - 28.0, 28.0), (NOW - 9e4, 9e4), (NOW + 9.0, None)],
)
def test_a_daemon_that_gives_no_sign_of_life_is_told(
    sqlite_url: str, file: Path, seen: float, told: float | None
) -> None:
    """The kernel's lock says of a stopped one what it says of one that ships."""
    engine, lock = open_engine(sqlite_url), FileLock(file)
    lock.acquire()
    note(file, Noted(seen))
    found = find_silence(engine, NOW)
    assert (found and found.seconds) == told
    assert found is None or "no sign of life; it is stopped" in found.reason
    lock.release()
    engine.dispose()


def test_what_another_one_noted_is_wiped_out_with_its_lock(file: Path) -> None:
    """It may be of before the boot, whose clock began anew; the room for the next note stays."""
    lock = FileLock(file)
    lock.acquire()
    note(file, LOST)
    size = lock.path.stat().st_size
    lock.release()
    lock.acquire()
    assert silent_seconds(noted(file)) is None
    assert lock.path.stat().st_size == size
    lock.release()


@pytest.mark.parametrize("reason", ["ä" * 500, "\x00" * 500, '"' * 500, "\U0001f4a9" * 500])
def test_a_note_takes_no_more_room_than_it_has(file: Path, reason: str) -> None:
    """A full disk must not be in the way of it, so it is never longer than the one for all well."""
    lock = FileLock(file)
    lock.acquire()
    note(file, WELL)
    size = lock.path.stat().st_size
    note(file, Noted(NOW / 7, NOW / 3, reason))
    assert lock.path.stat().st_size == size
    found = noted(file)
    assert found is not None
    assert reason.startswith(found.reason)
    lock.release()


@pytest.mark.parametrize(
    "written",
    [
        b"", b"{}", b"[]", b"nonsense", b"\xff", b'{"seen": 1}', b'{"seen": [], "lost": null}',
        b'{"seen": "soon", "lost": null, "reason": ""}',
        b'{"seen": "nan", "lost": null, "reason": ""}',
        b'{"seen": "-inf", "lost": null, "reason": ""}',
        b'{"seen": 1, "lost": "inf", "reason": ""}',
        b'{"seen": 1e308, "lost": -1e308, "reason": ""}',
    ],
)  # fmt: skip
def test_whatever_lies_there_is_no_note(file: Path, written: bytes) -> None:
    """Anybody may have written it who may write to the outbox."""
    FileLock(file).path.write_bytes(written)
    assert noted(file) is None


def test_what_somebody_wrote_there_takes_one_line_of_a_terminal(file: Path) -> None:
    """No control character, no other line, no text that runs backwards."""
    FileLock(file).path.write_bytes(
        rb'{"seen": 9, "lost": 2, "reason": "no \u001b[31mroom\u0007\n\u202efix: x\u2028"}'
    )
    assert noted(file) == Noted(9.0, 2.0, "no [31mroomfix: x")


def test_a_note_is_never_followed_elsewhere(file: Path, tmp_path: Path) -> None:
    """Neither by a link nor by another name of a file, nor to one that never answers."""
    path, victim = FileLock(file).path, tmp_path / "victim"
    victim.write_bytes(b"precious")
    for lead in (path.symlink_to, path.hardlink_to):
        lead(victim)
        note(file, LOST)
        assert noted(file) is None
        path.unlink()
    os.mkfifo(path)
    note(file, LOST)
    assert noted(file) is None
    assert victim.read_bytes() == b"precious"


def test_no_note_goes_into_another_file_that_was_renamed_to_the_lock(file: Path) -> None:
    """A member of the group may rename what he may not write: the outbox itself, or a backup."""
    path = FileLock(file).path
    file.rename(path)
    before = path.read_bytes()
    note(path.with_name(file.name), LOST)
    assert path.read_bytes() == before


def test_a_lease_that_is_not_prolonged_is_told(postgres_url: str) -> None:
    """Its holder may be dead, or unable to write: nobody can know, but all is not well."""
    engine = open_engine(postgres_url)
    assert find_silence(engine, NOW) is None
    daemon = Daemon(engine)
    assert find_silence(engine, NOW) is None
    for left in ("5 s", "-10 min"):
        tamper(
            engine,
            "UPDATE shipper_daemon SET owner = replace(owner, :here, 'elsewhere'),"
            f" expires_at = clock_timestamp() + interval '{left}'",
            here=os.uname().nodename,
        )
        found = find_silence(engine, NOW)
        assert found is not None
        assert found.seconds > 54
        assert "elsewhere" in found.reason
    daemon.queue.release()
    assert find_silence(engine, NOW) is None
    engine.dispose()


def test_an_outbox_that_no_daemon_holds_is_not_silent(engine: Engine) -> None:
    """Whatever lies beside it."""
    assert find_silence(engine, NOW) is None

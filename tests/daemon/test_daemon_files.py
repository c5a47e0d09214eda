"""What becomes of a daemon whose SQLite file is taken away from under it."""

import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.daemon.application import payload
from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.processes import Daemon, until


def file_of(shop: Shop) -> Path:
    """Return where the outbox is."""
    return Path(shop.url.removeprefix("sqlite:///"))


async def delivering(shop: Shop, event: str) -> Daemon:
    """Start a daemon, and see it deliver an event."""
    shop.add(event)
    daemon = await shop.started()
    await shop.settled()
    return daemon


async def copied(shop: Shop) -> Path:
    """Make a copy of the outbox."""
    copy = file_of(shop).with_name("copy.db")
    await shop.command("backup", str(copy))
    return copy


def put_in_place(copy: Path, shop: Shop) -> None:
    """Replace the outbox by a copy, as the manual says it, but for stopping the daemon."""
    path = file_of(shop)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.replace(path)
    shop.move_to(shop.url)


@only_sqlite
async def test_another_file_in_the_place_of_the_outbox_ends_it(shop: Shop) -> None:
    """It would wait for ever for what is written into that; its successor begins with it."""
    daemon = await delivering(shop, "u1-1")
    older = await copied(shop)
    shop.add("u1-2")
    await shop.settled()
    put_in_place(older, shop)
    shop.add("u1-3")
    assert await daemon.ended() == 75
    assert "another file lies in the place of shop.db" in daemon.stderr
    successor = await shop.started()
    await shop.settled()
    await successor.stop()
    assert shop.arrived() == ["u1-1", "u1-2", "u1-3"]
    await shop.assert_verified()


@only_sqlite
async def test_a_file_that_is_moved_over_an_open_one_stays_sound(shop: Shop) -> None:
    """What lies beside it belongs to the one before: the two are never opened together."""
    daemon = await delivering(shop, "u1-1")
    copy = await copied(shop)
    shop.add("u1-2")
    await shop.settled()
    copy.replace(file_of(shop))
    assert await daemon.ended() == 75
    shop.move_to(shop.url)  # what has the one before open lets go of it
    connection = sqlite3.connect(file_of(shop))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    successor = await shop.started()
    await shop.settled()
    await successor.stop()
    await shop.assert_verified()


async def taken_away(shop: Shop, daemon: Daemon) -> Path:
    """Put the outbox aside, all at once, and return where it is when the daemon has noticed."""
    path = file_of(shop)
    aside = path.with_name("aside")
    aside.mkdir()
    daemon.signal(signal.SIGSTOP)
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        if (there := path.with_name(name)).exists():
            there.rename(aside / name)
    daemon.signal(signal.SIGCONT)
    await daemon.told("store.lost")
    assert not path.exists()
    return aside


@only_sqlite
async def test_a_stop_while_the_file_is_away_is_a_clean_one(shop: Shop) -> None:
    """Nothing can be written any more, and nobody has to mend the daemon for that."""
    daemon = await delivering(shop, "u1-1")
    await taken_away(shop, daemon)
    await daemon.stop()
    assert daemon.said("daemon.stopped", cut_off=0)


@only_sqlite
async def test_a_file_that_goes_away_is_waited_for(shop: Shop) -> None:
    """It never comes back empty, and is shipped from as soon as it is there again."""
    daemon = await delivering(shop, "u1-1")
    path = file_of(shop)
    aside = await taken_away(shop, daemon)
    for moved in aside.iterdir():
        shutil.move(moved, path.parent)
    shop.move_to(shop.url)
    shop.add("u1-2")
    await until(lambda: "u1-2" in shop.arrived())
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u1-2"]


@only_sqlite
@pytest.mark.parametrize("stopped", [False, True], ids=["at work", "stopped meanwhile"])
async def test_whatever_lies_beside_the_file_may_be_removed(shop: Shop, *, stopped: bool) -> None:
    """`rsync --delete` takes -wal, -shm, lock and reserve: all is saved, and is there again."""
    daemon = await delivering(shop, "u1-1")
    path = file_of(shop)
    shop.move_to(shop.url)  # nobody else has the file open
    if stopped:
        daemon.signal(signal.SIGSTOP)
    for beside in path.parent.glob("shop.db?*"):
        beside.unlink()
    if stopped:
        daemon.signal(signal.SIGCONT)
    told = await daemon.told("store.notice")
    assert "its -wal or -shm was removed" in told["notice"]
    await shop.put({"payload": payload("u1", 2), "event_id": "u1-2"})
    await shop.settled()
    second = shop.start()
    assert await second.ended() == 75
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u1-2"]
    await shop.assert_verified()


@only_sqlite
async def test_no_connection_of_our_own_is_in_the_way_of_saving_a_removed_wal(shop: Shop) -> None:
    """It is a turn that notices first, while what watches for commits has the file open, too."""
    daemon = await delivering(shop, "u1-1")
    path = file_of(shop)

    def answer(_: object) -> None:
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    shop.sandbox.answer_for = answer
    shop.add("u1-2")
    shop.move_to(shop.url)
    await daemon.told("store.notice")
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u1-2"]
    await shop.assert_verified()


@only_sqlite
async def test_what_drain_looks_with_is_not_in_the_way_of_saving_a_removed_wal(shop: Shop) -> None:
    """It looks whether anything is left with an engine of its own, beside the one that ships."""
    path = file_of(shop)

    def answer(_: object) -> None:
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    shop.sandbox.answer_for = answer
    shop.add("u1-1")
    shop.move_to(shop.url)
    drain = await shop.command("drain", "-v")
    assert await drain.ended() == 0, drain.stderr
    assert "its -wal or -shm was removed" in drain.stderr
    assert shop.counts() == {"delivered": 1}
    assert shop.arrived() == ["u1-1"]
    await shop.assert_verified()


@only_sqlite
async def test_nothing_is_sent_while_an_application_has_a_removed_wal_open(shop: Shop) -> None:
    """What it commits would be gone with the power; it is named, and its restart is waited for."""
    daemon = await delivering(shop, "u1-1")
    path = file_of(shop)
    shop.move_to(shop.url)
    application = shop.application("lock", str(path), stdin=None)
    await until(lambda: application.stdout)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    lost = await daemon.told("store.lost")
    assert f"still has it open: process {application.pid} (" in lost["reason"]
    application.close_stdin()
    assert await application.ended() == 0
    await daemon.told("store.back")
    shop.add("u1-2")
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u1-2"]
    await shop.assert_verified()


@only_sqlite
async def test_a_file_that_lost_its_wal_in_a_restore_has_it_again(shop: Shop) -> None:
    """`.dump | sqlite3 new.db` (NetworkOptimizer 659): said once, at the start."""
    path = file_of(shop)
    shop.move_to(shop.url)
    restored = sqlite3.connect(path)
    restored.execute("PRAGMA journal_mode = DELETE")
    insert = "INSERT INTO shipper_outbox (payload, event_id) VALUES (?, 'u1-1')"
    restored.execute(insert, [payload("u1", 1)])
    restored.commit()
    restored.close()
    daemon = await shop.started()
    await shop.settled()
    [told] = daemon.said("store.notice")
    assert "the journal mode was delete" in told["notice"]
    assert shop.rows("PRAGMA journal_mode") == [("wal",)]
    await daemon.stop()


@only_sqlite
async def test_a_daemon_that_starts_beside_a_removed_wal_waits_for_who_has_it_open(
    shop: Shop,
) -> None:
    """It begins no other; the application's restart saves what is in it, and all is shipped."""
    path = file_of(shop)
    application = shop.application("lock", str(path), stdin=None)
    await until(lambda: application.stdout)
    shop.move_to(shop.url)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    daemon = shop.start()
    waits = await daemon.told("daemon.waiting")
    assert f"process {application.pid} (" in waits["reason"]
    application.close_stdin()
    assert await application.ended() == 0
    await daemon.told("daemon.started")
    shop.add("u1-1")
    await shop.settled()
    await daemon.stop()
    await shop.assert_verified()

"""One outbox, one daemon, whatever lies beside the file: the second ends, the first goes on.

Promise 2 in the guarantees: two would send the events of one key at the same time.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.test_daemon_files import delivering, file_of
from tests.daemon.test_daemon_place import hidden


def _lock(shop: Shop) -> Path:
    path = file_of(shop)
    return path.with_name(f"{path.name}.shipper.lock")


def _replaced(lock: Path) -> None:
    lock.rename(lock.with_name("away"))
    lock.touch(0o660)


def _linked(lock: Path) -> None:
    lock.unlink()
    lock.symlink_to(lock.with_name("shop.db"))


def _in_a_directory(lock: Path) -> None:
    lock.unlink()
    lock.mkdir()


CHANGES: dict[str, tuple[Callable[[Path], None], int]] = {
    "removed": (Path.unlink, 75),
    "replaced": (_replaced, 75),
    "replaced by a link": (_linked, 77),
    "replaced by a directory": (_in_a_directory, 77),
    "closed to everybody": (lambda lock: lock.chmod(0), 75),
}


@only_sqlite
@pytest.mark.parametrize("change", CHANGES)
async def test_one_outbox_has_one_daemon_whatever_lies_beside_it(shop: Shop, change: str) -> None:
    """As soon as the first can, it takes the lock file again; until then it has the other lock."""
    act, status = CHANGES[change]
    daemon = await delivering(shop, "u1-1")
    act(_lock(shop))
    second = shop.start()
    assert await second.ended() == status, second.stderr
    assert "daemon.started" not in second.stderr
    for number in range(2, 6):
        shop.add(f"u1-{number}")
    await shop.settled()
    assert daemon.is_alive
    assert f"process {daemon.pid} on " in (await shop.command("status")).stderr
    await daemon.stop()
    shop.assert_flawless()
    await shop.assert_verified()


@only_sqlite
@pytest.mark.parametrize("command", ["drain", "events export --hand-over x"])
async def test_no_command_takes_an_outbox_whose_lock_file_is_gone(shop: Shop, command: str) -> None:
    """What takes the outbox as a daemon does is kept out as a daemon is."""
    daemon = await delivering(shop, "u1-1")
    _lock(shop).unlink()
    ran = await shop.command(*command.split())
    # A drain watches the daemon that it finds.
    assert (ran.is_alive, await ran.ended()) == (False, 0 if command == "drain" else 75), ran.stderr
    shop.add("u1-2")
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless()


@only_sqlite
async def test_another_mount_has_the_same_daemon(shop: Shop) -> None:
    """In a mount namespace of its own the second finds another lock file."""
    daemon = await delivering(shop, "u1-1")
    lock = _lock(shop)
    other = lock.with_name("other")
    other.touch(0o660)
    second = shop.start(under=hidden(f"mount --bind {other} {lock}"))
    assert await second.ended() == 75, second.stderr
    shop.add("u1-2")
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless()


@only_sqlite
async def test_a_directory_that_is_mounted_twice_has_one_daemon(shop: Shop, tmp_path: Path) -> None:
    """As a volume is that an application's container and ours have under two names."""
    daemon = await delivering(shop, "u1-1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = file_of(shop)
    script = f"mount --bind {path.parent} {elsewhere}; rm {elsewhere}/{path.name}.shipper.lock"
    url = f"sqlite:///{elsewhere}/{path.name}"
    second = shop.start(under=hidden(script), SHIPPER_DATABASE__URL=url)
    assert await second.ended() == 75, second.stderr
    assert daemon.is_alive
    await daemon.stop()


@only_sqlite
async def test_a_daemon_that_was_killed_leaves_no_lock(shop: Shop) -> None:
    """Its successor begins at once."""
    daemon = await delivering(shop, "u1-1")
    daemon.kill()
    await daemon.ended()
    successor = await shop.started()
    shop.add("u1-2")
    await shop.settled()
    await successor.stop()

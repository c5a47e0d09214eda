"""A disk that is full to its last block: what was sent is recorded, from the reserve. Root only."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shipper.sandbox import Chaos
from shipper.store.upkeep.reserve import held
from tests.campaigns.full_disk import fill, small_disk
from tests.conftest import _migrate
from tests.daemon.harness import Shop
from tests.daemon.processes import until

RESERVE = 8_000_000
# What the application has before the disk is full: more than the WAL is before it is used again.
ROOM = 6_000_000


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """Give an outbox on a disk of its own."""
    with small_disk(tmp_path, 64) as disk:
        url = f"sqlite:///{disk / 'shop.db'}"
        _migrate(url, create=True)
        shop = Shop(url, tmp_path)
        await shop.open()
        try:
            yield shop
        finally:
            await shop.close()


def _places(shop: Shop) -> tuple[Path, Path]:
    """Return the outbox, and the file beside it that takes the room."""
    file = Path(shop.url.removeprefix("sqlite:///"))
    return file, file.with_name("ballast")


async def test_what_is_pending_on_a_full_disk_is_shipped_from_the_reserve(shop: Shop) -> None:
    """All of it, each once; and when there is room again the reserve is taken again."""
    file, ballast = _places(shop)
    shop.configure(more=f'[space]\nreserve = "{RESERVE}B"')
    shop.sandbox.chaos = Chaos.parse("503:1")
    daemon = await shop.started()
    await until(lambda: held(file) == RESERVE)
    ballast.write_bytes(bytes(_free(file) - ROOM))
    names = await asyncio.to_thread(fill, file, 2000)
    shop.sandbox.chaos = Chaos()
    await shop.settled()
    await daemon.stop()
    assert _free(file) < RESERVE
    assert set(shop.arrived()) == names
    shop.assert_flawless()
    assert daemon.said("space.reserve_given")
    assert not daemon.said("store.lost")
    await shop.assert_verified()
    ballast.unlink()
    daemon = await shop.started()
    await until(lambda: held(file) == RESERVE)
    await daemon.stop()


async def test_a_disk_that_is_full_at_the_start_is_waited_for(shop: Shop) -> None:
    """The daemon says what it waits for, and ships once there is room."""
    file, ballast = _places(shop)
    shop.configure(more='[space]\nreserve = "0GB"')
    shop.add("u1-1", "u2-1", "u1-2")
    ballast.write_bytes(bytes(_free(file)))
    daemon = shop.start()
    waiting = await daemon.told("daemon.waiting")
    assert "is full" in waiting["reason"]
    ballast.unlink()
    await shop.settled()
    await daemon.stop()
    assert shop.counts() == {"delivered": 3}
    shop.assert_flawless(repeats=0)


def _free(file: Path) -> int:
    return shutil.disk_usage(file.parent).free

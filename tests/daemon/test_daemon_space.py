"""A disk that is full to its last block: what was sent is recorded, from the reserve. Root only."""

import asyncio
from pathlib import Path

from shipper.sandbox import Chaos
from shipper.store.reserve import held
from tests.campaigns.full_disk import fill, small_disk
from tests.conftest import _migrate
from tests.daemon.harness import Shop
from tests.daemon.processes import until

RESERVE = 8_000_000
# What the application has before the disk is full: more than the WAL is before it is used again.
ROOM = 6_000_000


async def test_what_is_pending_on_a_full_disk_is_shipped_from_the_reserve(tmp_path: Path) -> None:
    """All of it, each once; and when there is room again the reserve is taken again."""
    with small_disk(tmp_path, 64) as disk:
        file, ballast = disk / "shop.db", disk / "ballast"
        _migrate(f"sqlite:///{file}", create=True)
        shop = Shop(f"sqlite:///{file}", tmp_path)
        await shop.open()
        try:
            shop.configure(more=f'[space]\nreserve = "{RESERVE}B"')
            shop.sandbox.chaos = Chaos.parse("503:1")
            daemon = await shop.started()
            await until(lambda: held(file) == RESERVE)
            ballast.write_bytes(bytes(_free(disk) - ROOM))
            names = await asyncio.to_thread(fill, file, 2000)
            shop.sandbox.chaos = Chaos()
            await shop.settled()
            await daemon.stop()
            assert _free(disk) < RESERVE
            assert set(shop.arrived()) == names
            shop.assert_flawless()
            assert daemon.said("space.reserve_given")
            assert not daemon.said("store.lost")
            await shop.assert_verified()
            ballast.unlink()
            daemon = await shop.started()
            await until(lambda: held(file) == RESERVE)
            await daemon.stop()
        finally:
            await shop.close()


async def test_a_disk_that_is_full_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """The daemon says what it waits for, and ships once there is room."""
    with small_disk(tmp_path, 64) as disk:
        file, ballast = disk / "shop.db", disk / "ballast"
        _migrate(f"sqlite:///{file}", create=True)
        shop = Shop(f"sqlite:///{file}", tmp_path)
        await shop.open()
        try:
            shop.configure(more='[space]\nreserve = "0GB"')
            shop.add("u1-1", "u2-1", "u1-2")
            ballast.write_bytes(bytes(_free(disk)))
            daemon = shop.start()
            waiting = await daemon.told("daemon.waiting")
            assert "is full" in waiting["reason"]
            ballast.unlink()
            await shop.settled()
            await daemon.stop()
            assert shop.counts() == {"delivered": 3}
            shop.assert_flawless(repeats=0)
        finally:
            await shop.close()


def _free(disk: Path) -> int:
    import shutil

    return shutil.disk_usage(disk).free

"""The daemon deletes what is over by itself, between its turns, and the books balance."""

import asyncio
import io
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from shipper.config import RetentionSettings
from shipper.daemon.chores import Upkeep
from shipper.daemon.schedule import retain_every
from shipper.logs import open_log
from shipper.store.db.opening import opened
from shipper.store.db.sqlite.opening import connect_sqlite
from shipper.system.confirmed_time import Confirmed
from tests.daemon.harness import Shop, only_postgres, only_sqlite, several
from tests.daemon.processes import PATIENCE, Daemon, until
from tests.observe.clocks import Hand

T = TypeVar("T")

DAY = 86400.0


@pytest.mark.parametrize(
    ("delivered", "dead", "expected"),
    [(7 * DAY, None, 600.0), (1.0, None, 1.0), (60.0, 30.0, 3.0), (None, None, 600.0)],
)
def test_the_chore_rings_often_enough(
    delivered: float | None, dead: float | None, expected: float
) -> None:
    """Ten times within the shorter retention, every ten minutes at the least."""
    assert retain_every(RetentionSettings(delivered, dead)) == expected


async def test_a_running_daemon_deletes_what_it_has_delivered(shop: Shop) -> None:
    """While it delivers more of it; what is held stays."""
    shop.configure(more='[retention]\ndelivered = "1s"')
    shop.add(*several(5, 4))
    await shop.command("hold", "--key", "u9")
    shop.add("u9-1")
    daemon = await shop.started()
    told = await daemon.told("retention.pruned")
    assert told["purged"] > 0
    shop.add(*several(5, 4, first=5))
    await until(lambda: shop.counts() == {"pending": 1})
    await daemon.stop()
    assert daemon.said("chore.failed") == []
    assert "Traceback" not in daemon.stderr
    status = await shop.status()
    assert (status["delivered"], status["purged"], status["pending"]) == (0, 40, 1)
    await shop.assert_verified()
    shop.assert_flawless()


async def _reloaded(daemon: Daemon) -> None:
    before = len(daemon.said("config.reloaded"))
    daemon.signal(signal.SIGHUP)
    await until(lambda: len(daemon.said("config.reloaded")) > before)


@only_sqlite
async def test_reloads_without_end_keep_nothing_from_being_deleted(shop: Shop) -> None:
    """No chore waits anew because the configuration, or a file of it, is another."""
    shop.configure(more='[retention]\ndelivered = "1s"')
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.settled()
    async with asyncio.timeout(PATIENCE):
        while shop.counts():
            await _reloaded(daemon)
    await daemon.stop()
    await shop.assert_verified()


@only_sqlite
async def test_a_deletion_in_the_way_of_a_locked_file_is_tried_again(shop: Shop) -> None:
    """An application that holds the lock for long costs a chore, and nothing else."""
    shop.configure(more='[retention]\ndelivered = "1s"')
    daemon = await shop.started()
    shop.add("u1-1")
    await shop.settled()
    application = connect_sqlite(Path(shop.url.partition("///")[2]), busy_timeout=5.0)
    application.execute("BEGIN IMMEDIATE")
    await daemon.told("chore.failed", chore="retention")
    application.close()
    await until(lambda: shop.counts() == {})
    await daemon.stop()
    await shop.assert_verified()


async def _here(work: Callable[[], T]) -> T:
    return work()


@only_postgres
async def test_a_leader_whose_clock_is_ahead_deletes_nothing_for_it(shop: Shop) -> None:
    """Others ship by clocks that are right, also what has waited for longer than it is kept.

    No clock was set while it ran, so it knows of nothing.
    """
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.settled()
    await daemon.stop()
    shop.execute("UPDATE shipper_outbox SET created_at = created_at - interval '10 days'")
    clock = Hand()
    clock.offset = time.time() + 30 * DAY - clock.now
    log = open_log("info", "json", io.StringIO())
    with opened(shop.url) as database:
        upkeep = Upkeep(database, _here, asyncio.sleep, clock, log, Confirmed(clock))
        await upkeep.retain(RetentionSettings(7 * DAY, None))
        assert shop.counts() == {"delivered": 1}
        shop.execute("UPDATE shipper_outbox SET delivered_at = delivered_at - interval '8 days'")
        await upkeep.retain(RetentionSettings(7 * DAY, None))
        assert shop.counts() == {}

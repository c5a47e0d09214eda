"""A failover under the real daemon: a standby takes over that lacks what was committed last."""

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from tests import standbys
from tests.daemon.harness import Shop, several
from tests.daemon.processes import until


@pytest.fixture
async def shop(pair: standbys.Pair, tmp_path: Path) -> AsyncIterator[Shop]:
    """Give an outbox on a server that has a standby."""
    shop = Shop(pair.url(), tmp_path)
    await shop.open()
    yield shop
    await shop.close()


async def test_a_failover_that_lost_commits_ends_in_no_violation_and_no_exit(
    shop: Shop, pair: standbys.Pair
) -> None:
    """An idle daemon, events that were delivered and lost, others that were claimed and lost.

    The ids of both are given again. What is new goes out at once and in order, and nothing of
    what this server never had.
    """
    daemon = await shop.started()
    shop.add(*several(3, 2))
    await shop.settled()
    pair.part()
    shop.add(*several(3, 2, first=3))
    await shop.settled()
    held = await shop.command("hold", "--destination", "default")
    assert await held.ended() == 0
    await shop.link_is("ready")
    shop.add("lost-1", "lost-2")
    claimed = "SELECT 1 FROM shipper_claim"
    await until(lambda: bool(shop.rows(claimed)))
    pair.fail_over()
    early = psycopg.connect(f"host=127.0.0.1 port={pair.standby.port} user=postgres dbname=shop")
    early.execute(
        "INSERT INTO shipper_outbox (payload, ordering_key, event_id)"
        """ VALUES ('{"type":"view","view":{},"context":[]}', 'z', 'z-1')"""
    )
    shop.forget_connections()
    shop.add("w-1", ordering_key="w")
    shop.add("z-2", ordering_key="z")
    await daemon.told("store.changed")
    early.commit()
    early.close()
    await shop.settled()
    arrived = shop.arrived()
    assert arrived.index("z-1") < arrived.index("z-2")
    assert "w-1" in arrived
    assert not {"lost-1", "lost-2"} & set(arrived)
    assert len(arrived) == 12 + 3
    await daemon.stop()
    await shop.assert_verified()


async def test_a_failover_that_lost_nothing_repeats_nothing(
    shop: Shop, pair: standbys.Pair
) -> None:
    """The daemon goes on as it was: no new session, no repeats."""
    daemon = await shop.started()
    shop.add(*several(3, 2))
    await shop.settled()
    pair.catch_up()
    pair.fail_over()
    shop.forget_connections()
    shop.add(*several(3, 2, first=3))
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=0)
    assert len(shop.arrived()) == 12
    assert "store.changed" not in daemon.stderr

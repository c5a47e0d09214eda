"""A synchronous standby that is away, under the real daemon: it waits, says so, and stops."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import standbys
from tests.daemon.application import payload
from tests.daemon.harness import Shop, several
from tests.daemon.processes import until


@pytest.fixture
async def shop(alone: standbys.Server, tmp_path: Path) -> AsyncIterator[Shop]:
    """Give an outbox on a server of the test's own."""
    shop = Shop(f"postgresql://postgres@127.0.0.1:{alone.port}/shop", tmp_path)
    await shop.open()
    yield shop
    away(alone, "")
    await shop.close()


def away(server: standbys.Server, name: str) -> None:
    """Have every COMMIT wait for a standby of this name; for none, where there is none."""
    server.administer(
        f"ALTER SYSTEM SET synchronous_standby_names = '{name}'", "SELECT pg_reload_conf()"
    )


def add_locally(server: standbys.Server, user: str, events: int) -> None:
    """Write events as an application does that waits for no standby."""
    rows = [f"('{payload(user, n)}', '{user}-{n}')" for n in range(1, events + 1)]
    insert = f"INSERT INTO shipper_outbox (payload, event_id) VALUES {', '.join(rows)}"
    server.administer("SET synchronous_commit = 'local'", insert, database="shop")


WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    " AND application_name LIKE 'shipper%'"
)


async def test_a_daemon_in_a_commit_that_waits_for_a_standby_stops(
    shop: Shop, alone: standbys.Server
) -> None:
    """It says once for what it waits, sends nothing meanwhile, and nothing at all as it stops.

    What its commits have claimed is as a crash leaves it: the next daemon asks for it.
    """
    daemon = await shop.started()
    shop.add(*several(2, 1))
    await shop.settled()
    away(alone, "berlin")
    add_locally(alone, "u9", 1)
    line = await daemon.told("store.commit_waits")
    assert "1 commit waits for a synchronous standby (berlin)" in line["reason"]
    assert "synchronous_standby_names" in line["hint"]
    await daemon.stop()
    assert len(daemon.said("store.commit_waits")) == 1
    assert len(daemon.said("daemon.stopped")) == 1
    assert len(shop.arrived()) == 2
    away(alone, "")
    daemon = await shop.started()
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=0)
    assert len(shop.arrived()) == 3
    await shop.assert_verified()


async def test_a_daemon_that_cannot_take_its_outbox_for_a_standby_stops(
    shop: Shop, alone: standbys.Server
) -> None:
    """Before it has begun, too."""
    away(alone, "berlin")
    daemon = shop.start()
    await until(lambda: alone.administer(WAITING) == [(1,)])
    await daemon.stop()
    assert daemon.said("daemon.stopped")


async def test_a_drain_whose_time_is_over_waits_for_no_standby(
    shop: Shop, alone: standbys.Server
) -> None:
    """Nor one that is told to stop: what is left is for the next one."""
    add_locally(alone, "u9", 1)
    away(alone, "berlin")
    drain = await shop.command("drain", "--timeout", "1s")
    assert await drain.ended() == 75
    away(alone, "")
    assert await (await shop.command("drain")).ended() == 0
    assert len(shop.arrived()) == 1


async def test_the_end_of_the_wait_is_told(shop: Shop, alone: standbys.Server) -> None:
    """Once, and everything goes on in order."""
    daemon = await shop.started()
    away(alone, "berlin")
    add_locally(alone, "u9", 4)
    await daemon.told("store.commit_waits")
    away(alone, "")
    await daemon.told("store.back")
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=0)

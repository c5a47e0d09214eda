"""The statistics of real daemons: what they did is written down, at the latest when they end."""

import json

from tests.daemon.harness import Shop, several

SUMS = (
    "SELECT sum(delivered), sum(retried), sum(dead), sum(latency_sum) > 0, max(latency_max) > 0"
    " FROM shipper_minute WHERE destination = 'default'"
)


async def test_a_daemon_writes_down_what_it_did(shop: Shop) -> None:
    """Also the minute in which it is stopped, and what one before it did stays."""
    daemon = await shop.started()
    shop.add(*several(3, 2))
    await shop.settled()
    await daemon.stop()
    assert tuple(shop.rows(SUMS)[0]) == (6, 0, 0, True, True)
    shop.add("u1-3")
    process = await shop.command("drain")
    assert await process.ended() == 0, process.stderr
    assert shop.rows(SUMS)[0][0] == 7
    told = await shop.command("top", "--json")
    assert await told.ended() == 0, told.stderr
    assert sum(json.loads(line)["delivered"] for line in told.stdout.splitlines()) == 7

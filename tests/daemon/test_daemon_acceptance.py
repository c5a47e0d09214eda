"""All of it at once: several writers, a receiver that fails in every way it can, one daemon."""

import pytest

from shipper.sandbox import Chaos
from tests.daemon.harness import SCALE, Shop

USERS = 500
WRITERS = 4
EVENTS = int(10_000 * SCALE)

# A fifth of all requests; 401, 404 and redirects pause the link, 429 throttles it.
CHAOS = (
    "503:0.03,500:0.03,408:0.02,418:0.01,drop:0.02,lost:0.02,reset:0.02,truncate:0.015,"
    "garbage:0.01,html:0.006,401:0.002,404:0.002,redirect:0.002,410:0.001,429:0.001:0s,"
    "429:0.0001:1s,503:0.0001:1s,slow:30ms:0.01"
)


@pytest.mark.timeout(300)
async def test_everything_arrives_in_order_whatever_fails(shop: Shop) -> None:
    """No event is lost, dead, out of order or repeated without cause."""
    names = [{"name": f"u{user}"} for user in range(USERS)]
    shop.execute("CREATE TABLE shop_customer (name TEXT PRIMARY KEY, events INTEGER NOT NULL)")
    values = ", ".join(f"('{row['name']}', 0)" for row in names)
    shop.execute(f"INSERT INTO shop_customer VALUES {values}")
    shop.sandbox.chaos = Chaos.parse(CHAOS)
    daemon = await shop.started()
    share = str(EVENTS // WRITERS)
    writers = [
        shop.application("write", shop.url, str(n), share, str(USERS)) for n in range(WRITERS)
    ]
    for writer in writers:
        assert await writer.ended(120) == 0, writer.stderr
    written = EVENTS // WRITERS * WRITERS
    await shop.sandbox.until(lambda ledger: ledger.summary().distinct == written, 200)
    await shop.settled()
    await daemon.stop()
    assert shop.counts() == {"delivered": written}
    summary = shop.sandbox.ledger.summary()
    assert summary.distinct == written
    assert summary.flawless, summary
    assert summary.repeats <= summary.ambiguous, summary
    assert shop.link().delivered == written
    await shop.assert_verified()

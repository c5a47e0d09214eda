"""`db upgrade` puts right what a tool has done to the tables of a running daemon, which goes on."""

import pytest

from tests.daemon.harness import Shop, only_postgres, several


@only_postgres
@pytest.mark.parametrize(
    ("done", "reason"),
    [
        ("DROP TABLE shipper_turn", "the database lacks what shipper last wrote there"),
        ("SELECT setval('shipper_delivery', 1, false)", "numbers or shards in shipper's tables"),
    ],
)
async def test_a_daemon_goes_on_after_its_turns_are_put_right(
    shop: Shop, done: str, reason: str
) -> None:
    """In a new session, for what it remembers is of turns that are gone; nothing goes twice."""
    shop.add(*several(2, 2))
    daemon = await shop.started()
    await shop.settled()
    shop.execute(done)
    upgraded = await shop.command("db", "upgrade")
    assert await upgraded.ended() == 0, upgraded.stderr
    shop.add(*several(2, 2, first=3))
    changed = await daemon.told("store.changed")
    assert changed["reason"].startswith(reason)
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=0)
    await shop.assert_verified()

"""The restore of the manual, done literally: hold, discard what has arrived, release, start."""

import shutil
from pathlib import Path

from shipper.clock import SystemClock, iso
from tests.daemon.harness import Shop, only_sqlite, several


async def _shipper(shop: Shop, *arguments: str, expected: int = 0) -> str:
    process = await shop.command(*arguments)
    assert await process.ended() == expected, process.stdout + process.stderr
    return process.stdout


@only_sqlite
async def test_a_restored_backup_sends_nothing_again_that_is_discarded(shop: Shop) -> None:
    """A copy made in mid-work; the work went on; the machine died; the copy takes its place."""
    copy = shop.directory / "backup.db"
    daemon = await shop.started()
    shop.add(*several(5, 2))
    await shop.settled()
    await _shipper(shop, "hold", "--destination", "default")
    shop.add(*several(5, 2, first=3))
    told = await _shipper(shop, "backup", str(copy))
    assert "a restore would send again: 10 pending for default" in told
    assert copy.stat().st_mode & 0o777 == Path(shop.url[10:]).stat().st_mode & 0o660
    last_in_the_copy = iso(SystemClock().wall())
    await _shipper(shop, "release", "--destination", "default")
    await shop.settled()
    daemon.kill()
    before = shop.sandbox.ledger.summary()
    assert before.requests == 20

    # As it stands in the manual.
    restored = shop.directory / "restored.db"
    shutil.copy(copy, restored)
    shop.move_to(f"sqlite:///{restored}")
    await _shipper(shop, "hold", "--destination", "default")
    assert "u5-4" in await _shipper(shop, "events", "list", "--status", "pending")
    discard = ("events", "discard", "ALL", "--until", last_in_the_copy, "--yes")
    assert "10 events discarded" in await _shipper(shop, *discard)
    await _shipper(shop, "release", "--destination", "default")
    daemon = await shop.started()
    shop.add("u1-5")
    await shop.settled()
    await daemon.stop()

    assert shop.counts() == {"delivered": 11, "discarded": 10}
    await shop.assert_verified()
    assert shop.arrived()[-1] == "u1-5"
    assert shop.sandbox.ledger.summary().requests == 21
    shop.assert_flawless(repeats=0)


@only_sqlite
async def test_a_restored_backup_sends_again_what_nobody_discards(shop: Shop) -> None:
    """Each with its own Idempotency-Key and in order: what the manual warns of."""
    copy = shop.directory / "backup.db"
    daemon = await shop.started()
    await _shipper(shop, "hold", "--destination", "default")
    shop.add(*several(2, 3))
    await _shipper(shop, "backup", str(copy))
    await _shipper(shop, "release", "--destination", "default")
    await shop.settled()
    await daemon.stop()
    shop.move_to(f"sqlite:///{copy}")
    await _shipper(shop, "release", "--destination", "default")
    daemon = await shop.started()
    await shop.settled()
    await daemon.stop()
    await shop.assert_verified()
    assert shop.sandbox.ledger.summary().requests == 12
    assert sorted(set(shop.arrived())) == sorted(several(2, 3))


async def test_pending_events_are_given_up_under_a_running_daemon(shop: Shop) -> None:
    """None of them is sent any more, and it ships on."""
    daemon = await shop.started()
    await _shipper(shop, "hold", "--destination", "default")
    shop.add("u1-1")
    await _shipper(shop, "events", "discard", "ALL", "--yes")
    await _shipper(shop, "release", "--destination", "default")
    shop.add("u2-1")
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u2-1"]
    assert shop.counts() == {"delivered": 1, "discarded": 1}

"""Moving house with real daemons: a till that dies hands its events to another outbox."""

from pathlib import Path

import pytest

from tests.daemon.harness import Shop, only_sqlite, several

HOLD = ("--destination", "default")


async def _shipper(shop: Shop, *arguments: str, expected: int = 0) -> str:
    process = await shop.command(*arguments)
    assert await process.ended() == expected, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path) -> str:
    """Give another outbox to move to."""
    if request.param == "sqlite":
        path = tmp_path / "new-house.db"
        path.write_bytes(sqlite_template.read_bytes())
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("postgres_url")
    return url.replace("+psycopg", "")


@only_sqlite
async def test_what_a_till_has_left_ships_from_the_new_house(shop: Shop, new_url: str) -> None:
    """Everything arrives once and in order, from the one house or the other."""
    file = str(shop.directory / "till.jsonl")
    shop.add(*several(4, 3))
    daemon = await shop.started()
    await shop.settled()
    await _shipper(shop, "hold", *HOLD)
    shop.add(*several(4, 3, first=4))
    await _shipper(shop, "events", "export", file, "--hand-over", expected=75)
    assert not Path(file).exists()
    await daemon.stop()
    told = await _shipper(shop, "events", "export", file, "--hand-over")
    assert "12 events exported" in told
    assert shop.counts() == {"delivered": 12, "discarded": 12}
    await shop.assert_verified()

    # Nothing of it leaves from the old house any more.
    await _shipper(shop, "release", *HOLD)
    assert "delivered 0" in await _shipper(shop, "drain")

    shop.move_to(new_url)
    assert "12 new" in await _shipper(shop, "enqueue", "--rows", file)
    assert "0 new" in await _shipper(shop, "enqueue", "--rows", file)
    await _shipper(shop, "drain")
    assert shop.counts() == {"delivered": 12}
    await shop.assert_verified()
    assert shop.sandbox.ledger.summary().requests == 24
    assert shop.arrived()[12:] != []
    shop.assert_flawless(repeats=0)

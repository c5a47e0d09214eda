"""What an application's tools do to the tables of a running daemon."""

from tests.daemon.harness import Shop, only_postgres


def _empty(shop: Shop) -> None:
    if shop.is_sqlite:
        shop.execute("DELETE FROM shipper_outbox")
        shop.execute("DELETE FROM sqlite_sequence WHERE name = 'shipper_outbox'")
    else:
        shop.execute("TRUNCATE shipper_outbox RESTART IDENTITY")


async def test_an_outbox_that_is_emptied_is_gone_on_with_at_once(shop: Shop) -> None:
    """Its ids begin anew; no restart, no command, and no waiting for the next scan."""
    shop.add(*(f"u{number}-1" for number in range(1, 30)))
    daemon = await shop.started()
    await shop.settled()
    _empty(shop)
    shop.add("v1-1", "v2-1", "v1-2")
    await shop.settled()
    changed = await daemon.told("store.changed")
    assert "shipper db upgrade" in changed["hint"]
    assert shop.counts() == {"delivered": 3}
    upgrade = await shop.command("db", "upgrade")
    assert "fixed: destinations had counters that were off: 1" in upgrade.stderr
    await shop.assert_verified()
    shop.add("v1-3")
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=0)


async def test_an_outbox_that_changed_is_waited_for_while_it_is_away(shop: Shop) -> None:
    """As long as it takes, as a daemon that ships waits: no exit that systemd takes for good."""
    shop.add(*(f"u{number}-1" for number in range(1, 30)))
    daemon = await shop.started()
    await shop.settled()
    shop.execute("ALTER TABLE shipper_alembic_version RENAME TO away")
    _empty(shop)
    shop.add("v1-1")
    await daemon.told("store.changed")
    waiting = await daemon.told("daemon.waiting")
    assert "seconds" not in waiting
    assert daemon.is_alive
    shop.execute("ALTER TABLE away RENAME TO shipper_alembic_version")
    await shop.settled()
    await daemon.stop()
    assert len(daemon.said("daemon.waiting")) == 1


async def test_a_daemon_that_waits_for_its_outbox_for_ever_can_be_stopped(shop: Shop) -> None:
    """With 0: what it waits for is not what it was told to do."""
    shop.add(*(f"u{number}-1" for number in range(1, 30)))
    daemon = await shop.started()
    await shop.settled()
    shop.execute("ALTER TABLE shipper_alembic_version RENAME TO away")
    _empty(shop)
    shop.add("v1-1")
    await daemon.told("daemon.waiting")
    await daemon.stop()


@only_postgres
async def test_a_trigger_that_is_switched_off_is_told_while_the_daemon_runs(shop: Shop) -> None:
    """doctor, verify and the log say so; db upgrade switches it on."""
    daemon = await shop.started()
    shop.execute("ALTER TABLE shipper_outbox DISABLE TRIGGER ALL")
    damaged = await daemon.told("store.damaged")
    assert "shipper_outbox_write is disabled" in damaged["problem"]
    for command in ("doctor", "verify"):
        told = await shop.command(command)
        assert "shipper_outbox_write is disabled" in told.stdout
    await shop.command("db", "upgrade")
    shop.add("u1-1")
    await shop.settled()
    await daemon.stop()
    await shop.assert_verified()


@only_postgres
async def test_a_vacuum_full_in_the_middle_repeats_nothing(shop: Shop) -> None:
    """The rows are the same, whatever file they lie in."""
    shop.add(*(f"u{number}-1" for number in range(1, 50)))
    daemon = await shop.started()
    shop.execute("CLUSTER shipper_outbox USING shipper_outbox_pkey")
    shop.add("u1-2")
    await shop.settled()
    await daemon.stop()
    assert not daemon.said("store.changed")
    shop.assert_flawless(repeats=0)

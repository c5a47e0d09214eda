"""Passwords, certificates and addresses that change under a running daemon."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from sqlalchemy import make_url

from shipper.store.db.engine import open_engine
from shipper.store.upgrade.migrate import upgrade
from tests.daemon.harness import Shop
from tests.daemon.processes import until
from tests.guarded import Server


@pytest.fixture
async def guarded_shop(guarded: Server, tmp_path: Path) -> AsyncIterator[Shop]:
    """Give a shop whose daemon logs in with a password, from a file."""
    url = make_url(guarded.own("shipper")).set(drivername="postgresql+psycopg")
    where = url.render_as_string(hide_password=False)
    engine = open_engine(where)
    upgrade(engine)
    engine.dispose()
    shop = Shop(where, tmp_path)
    await shop.open()
    text = shop.config.read_text("utf-8").replace(
        f"url = {json.dumps(where)}", f'url_file = "{tmp_path / "url"}"'
    )
    shop.config.write_text(text + '[web]\nlisten = "unix:web.sock"\n', "utf-8")
    yield shop
    await shop.close()


async def test_a_password_that_rotates_is_taken_without_a_restart(
    guarded_shop: Shop, guarded: Server, tmp_path: Path
) -> None:
    """The server has it first, the file later, in the end; every connection was cut meanwhile."""
    shop, file = guarded_shop, tmp_path / "url"
    file.write_text(guarded.url("shipper", "first-word"), "utf-8")
    daemon = await shop.started()
    shop.add("u1-1")
    await shop.settled()
    guarded.administer(
        "ALTER ROLE shipper PASSWORD 'second-word'",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_addr IS NOT NULL",
    )
    # How it was lost is one reason, what the next connection meets is another.
    await until(lambda: any("password" in lost["reason"] for lost in daemon.said("store.lost")))
    file.write_text("", "utf-8")  # somebody is just writing it
    shop.add("u1-2")
    new = file.with_name("url.new")
    new.write_text(guarded.url("shipper", "second-word"), "utf-8")
    new.replace(file)
    await shop.settled()
    await daemon.told("store.back")
    await daemon.stop()
    shop.assert_flawless(repeats=0)
    for secret in ("first-word", "second-word"):
        assert secret not in daemon.stdout + daemon.stderr


async def test_a_daemon_that_starts_in_the_middle_of_it_waits(
    guarded_shop: Shop, guarded: Server, tmp_path: Path
) -> None:
    """Whoever changes a password does so in two places, one after the other."""
    file = tmp_path / "url"
    file.write_text(guarded.url("shipper", "second-word"), "utf-8")
    daemon = guarded_shop.start()
    waiting = await daemon.told("daemon.waiting")
    assert "password authentication failed" in waiting["reason"]
    guarded.administer("ALTER ROLE shipper PASSWORD 'second-word'")
    await daemon.told("daemon.started")
    await daemon.stop()


async def test_a_wrong_password_in_the_configuration_ends_with_77(
    guarded_shop: Shop, guarded: Server
) -> None:
    """Nobody will change it meanwhile; status and doctor say the same."""
    shop = guarded_shop
    text = shop.config.read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("url_file"))
    url = guarded.url("shipper", "hush-hush")
    shop.config.write_text(text.replace(line, f'url = "{url}"'), "utf-8")
    for command, status in (("run", 77), ("status", 77), ("doctor", 1)):
        process = await shop.command(command)
        assert await process.ended() == status
        told = process.stdout + process.stderr
        assert "password authentication failed" in told
        assert f"127.0.0.1:{guarded.port}/shop as shipper" in told
        assert "hush-hush" not in told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_certificate_that_is_replaced_is_taken_without_a_restart(
    shop: Shop, tmp_path: Path
) -> None:
    """Half of a file is told and not taken; the configuration is not read for it."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    shop.configure(ca_file=str(file))
    daemon = await shop.started()
    shop.config.write_text("nonsense", "utf-8")
    file.write_text("-----BEGIN CERT", "utf-8")
    unusable = await daemon.told("file.unusable")
    assert unusable["paths"] == [str(file)]
    new = tmp_path / "new.pem"
    trustme.CA().cert_pem.write_to_path(str(new))
    new.replace(file)
    await daemon.told("file.changed")
    shop.add("u1-1")
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=0)

"""What a reload may change, and that no configuration whatever ends the shipping."""

import json
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url

from shipper.sandbox import InjectedFault
from shipper.store.schema.revisions import REVISIONS
from tests.daemon.harness import API_ID, Shop, only_postgres, only_sqlite
from tests.daemon.processes import Daemon, until

SLOW = InjectedFault("slow", delay=1.0)


def reload(daemon: Daemon, shop: Shop, url: str) -> None:
    """Name another database in the configuration, and say so."""
    text = shop.config.read_text("utf-8").splitlines()
    at = next(at for at, line in enumerate(text) if line.startswith("url = "))
    text[at] = f"url = {json.dumps(url)}"
    shop.config.write_text("\n".join(text) + "\n", "utf-8")
    daemon.signal(signal.SIGHUP)


async def rejected(daemon: Daemon, times: int) -> str:
    """Return what is wrong with the configuration that was refused last."""
    await until(lambda: len(daemon.said("config.rejected")) == times or not daemon.is_alive)
    assert daemon.is_alive, daemon.stderr[-2000:]
    return " ".join(daemon.said("config.rejected")[-1]["problems"])


def _missing(path: Path) -> None:
    path.unlink()


def _foreign(path: Path) -> None:
    path.unlink()
    _execute(path, "CREATE TABLE orders (id)")


def _namesake(path: Path) -> None:
    path.unlink()
    _execute(path, "CREATE TABLE shipper_outbox (id)")


def _nonsense(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _older(path: Path) -> None:
    _execute(path, f"UPDATE shipper_alembic_version SET version_num = '{REVISIONS[-2]}'")


def _newer(path: Path) -> None:
    _execute(path, "UPDATE shipper_alembic_version SET version_num = '9999'")


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


WRONG: dict[str, Callable[[Path], None]] = {
    "is missing": _missing,
    "no outbox in this database": _foreign,
    "a table shipper_outbox is there that shipper did not create": _namesake,
    "is not an SQLite database": _nonsense,
    "empty": _empty,
    "other.db": _directory,
    f"the outbox has revision {REVISIONS[-2]}": _older,
    "the outbox has revision 9999": _newer,
}


@only_sqlite
async def test_a_reload_with_a_database_that_cannot_be_used_ships_on(
    shop: Shop, sqlite_template: Path
) -> None:
    """Whatever is wrong with it: the old one is kept, and the fault is in the log."""
    daemon, other = await shop.started(), shop.directory / "other.db"
    for times, (said, spoil) in enumerate(WRONG.items(), start=1):
        if other.is_file():
            other.unlink()
        shutil.copy(sqlite_template, other)
        spoil(other)
        reload(daemon, shop, f"sqlite:///{other}")
        assert said in await rejected(daemon, times)
        shop.add(f"u1-{times}")
        await shop.settled()
        if other.is_dir():
            other.rmdir()
    await daemon.stop()
    assert len(shop.arrived()) == len(WRONG)
    assert len(daemon.said("daemon.started")) == 1
    shop.assert_flawless(repeats=0)


async def test_a_reload_with_a_server_that_is_away_ships_on(shop: Shop) -> None:
    """Nobody is waited for, and what was in the works isn't touched."""
    daemon = await shop.started()
    for times, url in enumerate(
        ("postgresql://nobody@127.0.0.1:1/no", "postgresql://nobody@/no?host=/nowhere"), start=1
    ):
        reload(daemon, shop, url)
        await rejected(daemon, times)
        shop.add(f"u1-{times}")
        await shop.settled()
    await daemon.stop()
    assert len(daemon.said("daemon.started")) == 1


async def test_a_reload_with_an_outbox_that_another_daemon_holds_ships_on(
    shop: Shop, sqlite_template: Path
) -> None:
    """Both go on with their own."""
    own, other = shop.url, f"sqlite:///{shop.directory / 'held.db'}"
    shutil.copy(sqlite_template, shop.directory / "held.db")
    daemon = await shop.started()
    shop.url = other
    shop.configure()
    second = await shop.started()
    shop.url = own
    reload(daemon, shop, other)
    assert "holds this outbox" in await rejected(daemon, 1)
    shop.add("u1-1")
    await shop.settled()
    await second.stop()
    reload(daemon, shop, other)
    await daemon.told("config.reloaded")
    await daemon.stop()


async def test_a_reload_can_lead_to_another_outbox(shop: Shop, sqlite_template: Path) -> None:
    """What is in flight ends first, and the old outbox is given back."""
    other = shop.directory / "other.db"
    shutil.copy(sqlite_template, other)
    shop.sandbox.answer_for = lambda _: SLOW
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.arrival("u1-1")
    reload(daemon, shop, f"sqlite:///{other}")
    await daemon.told("config.reloaded")
    assert shop.counts() == {"delivered": 1}
    assert shop.rows("SELECT owner FROM shipper_lease")[0][0] is None
    shop.move_to(f"sqlite:///{other}")
    shop.add("u2-1")
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u2-1"]
    shop.assert_flawless(repeats=0)


async def test_a_reload_keeps_the_outbox(shop: Shop) -> None:
    """Lock and lease stay with the daemon whatever is changed about its destinations."""
    daemon = await shop.started()
    its = "shipper_lease" if shop.is_sqlite else "shipper_daemon"
    [before] = shop.rows(f"SELECT token FROM {its}")
    shop.configure(timeout=9.0, more='[schedule]\npoll_interval = "2s"')
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    shop.add("u1-1")
    await shop.settled()
    [after] = shop.rows(f"SELECT token FROM {its}")
    assert after == before
    await daemon.stop()


@only_postgres
async def test_another_way_to_the_same_outbox_is_no_other_outbox(shop: Shop) -> None:
    """Only the connection is made anew: by another user, with another password, to another host."""
    daemon = await shop.started()
    [before] = shop.rows("SELECT token FROM shipper_daemon")
    other = make_url(shop.url).update_query_dict({"application_name": "moved"})
    reload(daemon, shop, other.render_as_string(hide_password=False))
    await daemon.told("config.reloaded")
    shop.add("u1-1")
    await shop.settled()
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    await until(lambda: shop.rows(f"{mine} AND application_name = 'moved'")[0][0])
    [after] = shop.rows("SELECT token FROM shipper_daemon")
    assert after == before
    await daemon.stop()
    shop.assert_flawless(repeats=0)


@only_sqlite
async def test_a_reload_works_while_the_database_is_away(shop: Shop) -> None:
    """It needs nothing from it; what was answered meanwhile is recorded later."""
    daemon = await shop.started()
    shop.sandbox.answer_for = lambda _: SLOW
    shop.add("u1-1", "u1-2")
    await shop.arrival("u1-1")
    locker = shop.application("lock", str(shop.directory / "shop.db"), stdin=None)
    await until(lambda: "locked" in locker.stdout)
    await daemon.told("store.lost")
    shop.configure(max_in_flight=3, more=_other(shop))
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    locker.close_stdin()
    await shop.settled()
    await daemon.stop()
    assert shop.arrived() == ["u1-1", "u1-2"]
    shop.assert_flawless(repeats=0)


def _other(shop: Shop, **more: object) -> str:
    lines = (f"{name} = {json.dumps(value)}" for name, value in more.items())
    url, api_id = json.dumps(shop.sandbox.events_url), json.dumps(API_ID)
    return "\n".join(["[destinations.other]", f"url = {url}", f"api_id = {api_id}", *lines])


@only_sqlite
async def test_a_reload_of_one_destination_does_not_interrupt_another(shop: Shop) -> None:
    """While its slowest try is under way, both go on: the one as before, the other as new."""
    very_slow = InjectedFault("slow", delay=60.0)
    shop.sandbox.answer_for = lambda visit: very_slow if "u1-1" in str(visit.key) else None
    shop.configure(timeout=90, more=_other(shop))
    shop.add("u1-1", "u2-1")
    shop.add("u3-1", destination="other")
    daemon = await shop.started()
    await until(lambda: shop.counts().get("delivered") == 2)
    shop.configure(timeout=90, more=_other(shop, max_in_flight=2))
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    shop.add("u2-2")
    shop.add("u3-2", destination="other")
    await until(lambda: shop.counts().get("delivered") == 4)
    assert shop.counts() == {"delivered": 4, "pending": 1}
    assert len([event for event in shop.arrived() if event == "u1-1"]) == 1


async def test_a_destination_that_is_another_waits_for_its_own_tries(shop: Shop) -> None:
    """What is in flight at the old one ends, is recorded, and only then does its key go on."""
    shop.sandbox.answer_for = lambda _: SLOW
    shop.configure(max_in_flight=1)
    shop.add("u1-1", "u1-2", "u2-1")
    daemon = await shop.started()
    await shop.arrival("u1-1")
    shop.configure(max_in_flight=2)
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    daemon.signal(signal.SIGHUP)
    await shop.settled()
    await daemon.stop()
    assert shop.arrived()[0] == "u1-1"
    assert len(shop.arrived()) == 3
    shop.assert_flawless(repeats=0)


@only_sqlite
async def test_a_destination_that_fails_can_be_given_another_address(shop: Shop) -> None:
    """Nothing of the old one is waited for: its probes, its outage are nobody's at the new one."""
    hour: dict[str, object] = {"probe_max_delay": 3600, "max_delay": 0.1}
    shop.configure(retry=hour, url="http://127.0.0.1:1/events")
    shop.add("u1-1", "u2-1", "u1-2")
    daemon = await shop.started()
    await shop.link_is("offline")
    shop.configure(retry=hour)
    daemon.signal(signal.SIGHUP)
    await shop.settled()
    await daemon.stop()
    assert shop.link().failures == 0
    shop.assert_flawless(repeats=0)


@only_sqlite
async def test_a_destination_can_be_taken_away_and_come_back(shop: Shop) -> None:
    """Its events wait meanwhile; what is held of it is held when it comes back."""
    shop.configure(more=_other(shop))
    daemon = await shop.started()
    held = await shop.command("hold", "--key", "u3", "--destination", "other")
    assert await held.ended() == 0, held.stderr
    shop.configure()
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    shop.add("u3-1", "u4-1", destination="other")
    shop.add("u5-1")
    await shop.arrival("u5-1")
    await daemon.told("destination.unknown", destination="other")
    shop.configure(more=_other(shop))
    daemon.signal(signal.SIGHUP)
    await shop.arrival("u4-1")
    shop.add("u4-2", destination="other")
    await shop.arrival("u4-2")
    await daemon.stop()
    assert "u3-1" not in shop.arrived()


@only_sqlite
async def test_a_reload_takes_what_is_said_and_how(shop: Shop) -> None:
    """Whoever looks for a cause wants to hear more, and the shipping isn't interrupted for it."""
    shop.configure(log_level="info")
    daemon = await shop.started()
    shop.add("u1-1")
    await shop.settled()
    assert not daemon.said("delivery.delivered")
    shop.configure(log_level="debug", timeout="never")
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.rejected")
    shop.add("u1-2")
    await shop.settled()
    assert not daemon.said("delivery.delivered")
    shop.configure(log_level="debug")
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    shop.add("u1-3")
    await daemon.told("delivery.delivered", id=3)
    text = shop.config.read_text("utf-8")
    shop.config.write_text(text.replace('format = "json"', 'format = "journal"'), "utf-8")
    daemon.signal(signal.SIGHUP)
    await until(lambda: "<6>config.reloaded path=" in daemon.stderr)
    await daemon.stop()
    assert len(daemon.said("daemon.started")) == 1

"""How the process lives and dies: stopped, killed, doubled, reloaded, parted from its database."""

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from shipper.clock import SystemClock
from shipper.config import load
from shipper.daemon import Stop, acquisition, open_session, session
from shipper.errors import StoreUnavailable
from shipper.logs import open_log
from shipper.sandbox import InjectedFault
from shipper.store.db.opening import Database
from shipper.store.db.transactions import writing
from tests.daemon.harness import API_ID, Shop, only_postgres, only_sqlite, several
from tests.daemon.processes import Daemon, until
from tests.laps import laps

SLOW = InjectedFault("slow", delay=0.7)
VERY_SLOW = InjectedFault("slow", delay=30.0)


async def requests(shop: Shop, number: int) -> None:
    """Wait until the sandbox has so many requests."""
    await shop.sandbox.until(lambda ledger: ledger.summary().requests >= number, 30)


async def test_sigterm_finishes_what_is_in_flight(shop: Shop) -> None:
    """It ends with 0, nothing was cut off, and the next run repeats nothing."""
    events = several(users=12, each=2)
    shop.configure(max_in_flight=4)
    shop.sandbox.answer_for = lambda _: SLOW
    shop.add(*events)
    daemon = await shop.started()
    await requests(shop, 4)
    await daemon.stop()
    assert daemon.said("daemon.stopping", reason="SIGTERM")
    assert daemon.said("daemon.stopped", cut_off=0)
    assert shop.counts()["delivered"] == len(shop.arrived()) < len(events)
    assert shop.rows("SELECT * FROM shipper_claim") == []
    shop.sandbox.answer_for = None
    again = await shop.started()
    await shop.settled()
    await again.stop()
    assert not again.said("daemon.recovered")
    shop.assert_flawless(repeats=0)


async def test_sigkill_repeats_what_was_in_flight_and_that_first(shop: Shop) -> None:
    """The next run takes over at once; every lane begins with what may have been received."""
    events = several(users=12, each=3)
    shop.configure(max_in_flight=4, timeout=60)
    shop.sandbox.answer_for = lambda _: VERY_SLOW
    shop.add(*events)
    daemon = await shop.started()
    await requests(shop, 4)
    daemon.signal(signal.SIGKILL)
    await daemon.ended()
    in_flight = shop.arrived()
    assert len(in_flight) == 4
    shop.sandbox.answer_for = None
    again = await shop.started()
    await shop.settled()
    await again.stop()
    assert again.said("daemon.recovered")
    assert not again.said("daemon.waiting"), "it waited for the lease of a dead process"
    assert shop.counts() == {"delivered": len(events)}
    summary = shop.sandbox.ledger.summary()
    assert (summary.repeats, summary.immediate_repeats) == (4, 4)
    assert summary.flawless, summary
    # All 12 lanes had been claimed, so that many heads go first, the four among them.
    assert set(in_flight) <= set(shop.arrived()[4:16])
    await shop.assert_verified()


@only_sqlite
async def test_a_second_daemon_ends_with_75(shop: Shop) -> None:
    """And says who holds the outbox; the first goes on."""
    shop.configure(timeout=0.5)
    daemon = await shop.started()
    second = shop.start()
    assert await second.ended(60) == 75
    assert "holds this outbox" in second.stderr
    assert "Traceback" not in second.stderr
    shop.add("u1-1")
    await shop.settled()
    await daemon.stop()


@only_sqlite
async def test_sighup_takes_a_new_setting_and_refuses_a_broken_one(shop: Shop) -> None:
    """The old configuration stays in force, and the fault is named with its line."""
    shop.configure(api_id="wrong")
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.link_is("paused")
    shop.configure(api_id=API_ID)
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    await shop.settled()
    shop.configure(timeout="soon")
    daemon.signal(signal.SIGHUP)
    rejected = await daemon.told("config.rejected")
    assert [problem for problem in rejected["problems"] if f"{shop.config}:5: " in problem]
    shop.add("u1-2")
    await shop.settled()
    await daemon.stop()
    assert shop.ended() == ["u1-1", "u1-2"]


@only_sqlite
@pytest.mark.parametrize("setting", ["api_id_file", "ca_file"])
async def test_sighup_refuses_a_file_that_cannot_be_used(shop: Shop, setting: str) -> None:
    """Whatever is wrong with a new configuration, the daemon goes on with the old one."""
    daemon = await shop.started()
    file = shop.directory / "unusable"
    file.write_bytes(b"\n")
    unusable: dict[str, Any] = {setting: str(file)}
    shop.configure(**unusable)
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.rejected")
    shop.add("u1-1")
    await shop.settled()
    await daemon.stop()


@only_sqlite
async def test_sighup_finishes_what_is_in_flight(shop: Shop) -> None:
    """A reload repeats nothing."""
    shop.sandbox.answer_for = lambda _: SLOW
    shop.add(*several(users=6, each=1))
    daemon = await shop.started()
    await requests(shop, 6)
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=0)
    assert shop.sandbox.ledger.summary().requests == 6


@only_sqlite
async def test_a_wrong_configuration_ends_with_78(shop: Shop) -> None:
    """Every fault is named, with file and line, before anything is touched."""
    shop.configure(timeout="soon", max_in_flight=0)
    daemon = shop.start()
    assert await daemon.ended() == 78
    assert f"{shop.config}:5: destinations.default.timeout: " in daemon.stderr
    assert f"{shop.config}:6: destinations.default.max_in_flight: " in daemon.stderr


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_database_without_an_outbox_ends_with_78(shop: Shop, bare_url: str) -> None:
    """With one line that says so and one that says what to do; no file is made."""
    shop.url = bare_url
    shop.configure()
    daemon = shop.start()
    assert await daemon.ended() == 78
    assert "Traceback" not in daemon.stderr
    first = "run: shipper db upgrade" if "postgresql" in bare_url else "is the path right"
    assert f"hint: {first}" in daemon.stderr
    assert not (shop.directory / "bare.db").exists()


async def _freeze_between_turns(daemon: Daemon, shop: Shop) -> None:
    """Stop a daemon while it isn't in the middle of a transaction, whose locks it would keep."""
    async with asyncio.timeout(30):
        while True:
            daemon.signal(signal.SIGSTOP)
            try:
                shop.execute("SELECT 1 FROM shipper_daemon FOR UPDATE NOWAIT")
            except StoreUnavailable:
                daemon.signal(signal.SIGCONT)
                await laps(1)
            else:
                return


@only_postgres
async def test_a_daemon_that_was_taken_over_ends_with_75(shop: Shop) -> None:
    """It slept beyond its lease; when it wakes it changes nothing and sends nothing."""
    first = await shop.started()
    await _freeze_between_turns(first, shop)
    shop.execute("UPDATE shipper_daemon SET ttl = 0")
    second = await shop.started()
    shop.add("u1-1")
    await shop.settled()
    first.signal(signal.SIGCONT)
    shop.add("u1-2")
    assert await first.ended() == 75
    await shop.settled()
    await second.stop()
    assert not first.said("delivery.delivered")
    assert shop.arrived() == ["u1-1", "u1-2"]
    shop.assert_flawless(repeats=0)


@only_sqlite
async def test_a_database_that_is_locked_at_the_start_is_waited_for(shop: Shop) -> None:
    """A migration of the application's may take a while."""
    shop.add("u1-1")
    locker = shop.application("lock", str(shop.directory / "shop.db"), stdin=None)
    await until(lambda: "locked" in locker.stdout)
    daemon = shop.start()
    await daemon.told("daemon.waiting")
    locker.close_stdin()
    await shop.settled()
    await daemon.stop()
    assert shop.ended() == ["u1-1"]


@only_sqlite
async def test_a_locked_database_is_waited_for(shop: Shop) -> None:
    """What was answered meanwhile is recorded as soon as the lock is gone, and not sent again."""
    shop.sandbox.answer_for = lambda _: SLOW
    daemon = await shop.started()
    shop.add("u1-1", "u2-1", "u1-2")
    await requests(shop, 2)
    locker = shop.application("lock", str(shop.directory / "shop.db"), stdin=None)
    await until(lambda: "locked" in locker.stdout)
    await daemon.told("store.lost")
    assert shop.counts() == {"pending": 3}
    locker.close_stdin()
    await shop.settled()
    await daemon.told("store.back")
    await daemon.stop()
    shop.assert_flawless(repeats=0)
    assert daemon.said("store.lost")[1:] == []


@only_postgres
async def test_a_lost_connection_is_made_anew(shop: Shop) -> None:
    """In the middle of a send; nothing is repeated, and what comes later is shipped."""
    shop.sandbox.answer_for = lambda _: SLOW
    shop.add("u1-1", "u2-1", "u1-2")
    daemon = await shop.started()
    await requests(shop, 2)
    shop.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    shop.add("u3-1")
    await shop.settled()
    await daemon.stop()
    assert shop.counts() == {"delivered": 4}
    shop.assert_flawless(repeats=0)


async def test_an_unreachable_server_is_insisted_on_and_then_69(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not for ever: whoever started the daemon has to learn of it."""
    monkeypatch.setattr(acquisition, "REACH_WITHIN", 0.2)
    config = tmp_path / "shipper.toml"
    config.write_text(
        '[database]\nurl = "postgresql://nobody@127.0.0.1:1/no"\n'
        '[destinations.default]\nurl = "http://127.0.0.1:1/"\napi_id = "x"\n',
        "utf-8",
    )
    config.chmod(0o600)
    opened = open_session(load(config, {}), clock=SystemClock(), log=open_log(), stop=Stop())
    with pytest.raises(StoreUnavailable) as raised:
        await opened.__aenter__()
    assert raised.value.exit_status == 69


async def test_no_stop_waits_for_an_upgrade_at_the_start(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the database does is broken off, however long it would have taken."""
    begun = threading.Event()

    def endless(engine: Database) -> list[str]:
        with writing(engine) as tx:
            begun.set()
            tx.exec_driver_sql(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
                " SELECT max(i) FROM n"
            )
        return []

    monkeypatch.setattr(session, "prepare", endless)
    config = tmp_path / "shipper.toml"
    config.write_text(
        f'[database]\nurl = "{sqlite_url}"\n'
        '[destinations.default]\nurl = "http://127.0.0.1:1/"\napi_id = "x"\n',
        "utf-8",
    )
    config.chmod(0o600)
    stop = Stop()
    opened = open_session(load(config, {}), clock=SystemClock(), log=open_log(), stop=stop)
    opening = asyncio.create_task(opened.__aenter__())
    assert await asyncio.to_thread(begun.wait, 10)
    stop.set()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(opening, 10)


async def test_a_drain_that_waits_for_nothing_breaks_nothing_off(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with a stop that is set, which is no reason to interrupt its own questions."""
    broken_off: list[Database] = []
    monkeypatch.setattr(acquisition, "interrupt", broken_off.append)
    config = tmp_path / "shipper.toml"
    config.write_text(
        f'[database]\nurl = "{sqlite_url}"\n'
        '[destinations.default]\nurl = "http://127.0.0.1:1/"\napi_id = "x"\n',
        "utf-8",
    )
    config.chmod(0o600)
    stop = Stop()
    stop.set()
    async with open_session(load(config, {}), clock=SystemClock(), log=open_log(), stop=stop):
        pass
    assert broken_off == []

"""A stop waits for no database longer than its budget, whatever that is doing; and loses nothing.

Nothing here kills the daemon: each of them ends by itself, well before systemd would lose patience.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shipper.daemon.requests import Stop
from shipper.daemon.stop_budget import STORE_GRACE
from shipper.sandbox import InjectedFault
from shipper.store.lease.file_lock import FileLock
from tests import standbys
from tests.daemon.harness import Shop, only_sqlite, several
from tests.daemon.processes import PATIENCE, Daemon, until
from tests.daemon.silent import silent
from tests.daemon.still import Way, way

# With what a loaded machine may need. A stop without a budget takes longer, or for ever.
IN_TIME = STORE_GRACE + 12.0
EVENTS = several(users=3, each=2)
_SLOW = InjectedFault("slow", delay=0.7)
_ENDLESS = InjectedFault("slow", delay=60.0)
_BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'shipper%' AND pid <>"
    " pg_backend_pid() AND datname = 'shop'"
)


@pytest.fixture
async def still(alone: standbys.Server) -> AsyncIterator[Way]:
    """Give a way to a server of the test's own, on which it can stand still."""
    async with way(alone.port) as found:
        yield found


@pytest.fixture
async def behind(still: Way, alone: standbys.Server, tmp_path: Path) -> AsyncIterator[Shop]:
    """Give a shop whose daemon gets to its outbox by that way."""
    shop = Shop(_direct(alone), tmp_path)
    await shop.sandbox.start()
    shop.url = still.url
    shop.configure()
    yield shop
    await shop.close()


def _direct(server: standbys.Server) -> str:
    return f"postgresql://postgres@127.0.0.1:{server.port}/shop"


async def _gives_up(daemon: Daemon, sent: int) -> None:
    """Stop a daemon, which gives its database up; `sent` is how much of that is not recorded."""
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended(IN_TIME) == 0, daemon.stderr[-2000:]
    [line] = daemon.said("store.given_up")
    assert line["hint"].startswith("nothing is lost")
    told = [line["events"] for line in daemon.said("store.unrecorded")]
    assert told == ([sent] if sent else [])
    assert daemon.said("daemon.stopped")[0]["cut_off"] == sent
    assert "Traceback" not in daemon.stderr


async def _goes_on(shop: Shop, repeats: int) -> None:
    """Have the next daemon ship the rest, and repeat at most what may have been received."""
    daemon = await shop.started()
    await shop.settled()
    await daemon.stop()
    shop.assert_flawless(repeats=repeats)
    await shop.assert_verified()


async def test_a_stop_ends_while_the_server_process_stands_still(
    alone: standbys.Server, tmp_path: Path
) -> None:
    """SIGSTOP, a stuck disk of the server's: it answers nothing, no request to cancel either."""
    shop = Shop(_direct(alone), tmp_path)
    await shop.open()
    shop.sandbox.answer_for = lambda _: _SLOW
    shop.add(*EVENTS)
    shop.forget_connections()
    daemon = await shop.started()
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 3)
    stopped = [pid for (pid,) in alone.administer(_BACKENDS)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        await shop.sandbox.until(lambda ledger: len(ledger.visits) == 3)
        await _gives_up(daemon, 3)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert len(shop.arrived()) == 3
    shop.sandbox.answer_for = None
    await _goes_on(shop, repeats=3)
    await shop.close()


async def test_a_stop_ends_while_nothing_comes_through_from_the_server(
    behind: Shop, still: Way
) -> None:
    """A firewall that drops packets, in the middle of what is being recorded."""
    behind.sandbox.answer_for = lambda _: _SLOW
    behind.add(*EVENTS)
    daemon = await behind.started()
    await behind.sandbox.until(lambda ledger: ledger.summary().requests == 3)
    still.stand_still()
    await _gives_up(daemon, 3)
    assert len(behind.arrived()) == 3
    still.go_on()
    behind.sandbox.answer_for = None
    await _goes_on(behind, repeats=3)


async def test_a_stop_ends_while_the_outbox_is_given_back(behind: Shop, still: Way) -> None:
    """Nothing is unrecorded then, and the lease is known to be a dead process's."""
    behind.add(*EVENTS)
    daemon = await behind.started()
    await behind.settled()
    still.stand_still(at=b"DELETE FROM shipper_daemon")
    await _gives_up(daemon, 0)
    assert still.stands.is_set()
    still.go_on()
    await _goes_on(behind, repeats=0)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_stop_ends_while_a_claim_is_committed(
    behind: Shop, still: Way, *, after: bool
) -> None:
    """Whether or not it is on the server's disk by then: nothing was sent, and it is, once."""
    daemon = await behind.started()
    still.stand_still(at=b"COMMIT", after=after)
    behind.add("u1-1")
    await still.stands.wait()
    await _gives_up(daemon, 0)
    assert behind.arrived() == []
    still.go_on()
    await _goes_on(behind, repeats=0)


@only_sqlite
async def test_a_stop_ends_a_first_start_whose_server_says_nothing(shop: Shop) -> None:
    """It lets us in and answers no question."""
    async with silent() as server:
        shop.move_to(server.url)
        daemon = shop.start()
        await server.asked.wait()
        await _gives_up(daemon, 0)


async def test_a_drain_whose_time_is_over_ends_though_its_server_says_nothing(
    behind: Shop, still: Way
) -> None:
    """It has nothing to count by: 69, with the reason."""
    still.stand_still(at=b"INSERT INTO shipper_claim")
    behind.add("u1-1")
    drain = await behind.command("drain", "--timeout", "2s")
    assert await drain.ended() == 69
    assert "didn't answer within" in drain.stderr
    assert behind.arrived() == []


@only_sqlite
async def test_a_stop_waits_for_a_write_lock_so_long_and_no_longer(shop: Shop) -> None:
    """It says who holds it; what couldn't be recorded is sent again, and nothing else."""
    shop.sandbox.answer_for = lambda _: _SLOW
    daemon = await shop.started()
    shop.add(*EVENTS)
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 3)
    lock = shop.application("lock", str(shop.directory / "shop.db"), stdin=None)
    await until(lambda: lock.stdout)
    await shop.sandbox.until(lambda ledger: len(ledger.visits) == 3)
    await _gives_up(daemon, 3)
    assert f"process {lock.pid} (" in daemon.said("store.given_up")[0]["reason"]
    lock.close_stdin()
    assert await lock.ended() == 0
    shop.sandbox.answer_for = None
    await _goes_on(shop, repeats=3)


@only_sqlite
async def test_a_stop_gives_up_no_outbox_that_waits_for_the_end_of_another(shop: Shop) -> None:
    """A reload has opened it; what is in flight of the one before may finish, and is recorded."""
    url, other = shop.url, shop.directory / "other.db"
    shop.url = f"sqlite:///{other}"
    shop.configure()
    assert await (await shop.command("db", "upgrade", "--create")).ended() == 0
    shop.url = url
    shop.configure(timeout=30.0)
    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=STORE_GRACE + 3.0)
    daemon = await shop.started()
    shop.add("u1-1")
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 1)
    shop.url = f"sqlite:///{other}"
    shop.configure(timeout=30.0)
    daemon.signal(signal.SIGHUP)
    await until(lambda: FileLock(other).is_held())
    daemon.signal(signal.SIGTERM)
    assert await daemon.ended() == 0
    assert not daemon.said("store.given_up")
    assert daemon.said("delivery.delivered")


@only_sqlite
async def test_a_write_lock_that_is_let_go_of_in_time_costs_a_stop_nothing(shop: Shop) -> None:
    """What was in flight is recorded, and nothing is sent twice."""
    shop.sandbox.answer_for = lambda _: _SLOW
    daemon = await shop.started()
    shop.add(*several(3, 1))
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 3)
    lock = shop.application("lock", str(shop.directory / "shop.db"), stdin=None)
    await until(lambda: lock.stdout)
    daemon.signal(signal.SIGTERM)
    await daemon.told("daemon.stopping")
    await shop.sandbox.until(lambda ledger: len(ledger.visits) == 3)
    lock.close_stdin()
    assert await daemon.ended() == 0
    assert not daemon.said("store.given_up")
    assert shop.counts() == {"delivered": 3}
    shop.assert_flawless(repeats=0)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(shop: Shop, second: signal.Signals) -> None:
    """What is in flight is cut off, though it had a minute: it may have been received.

    Who has no patience presses again and again; what comes within half a second is one signal.
    """
    shop.configure(timeout=60.0)
    shop.sandbox.answer_for = lambda _: _ENDLESS
    shop.add("u1-1", "u1-2")
    daemon = await shop.started()
    await shop.sandbox.until(lambda ledger: ledger.summary().requests == 1)
    daemon.signal(signal.SIGTERM)
    await daemon.told("daemon.stopping")

    def pressed() -> bool:
        if not (heard := daemon.said("store.given_up")):
            daemon.signal(second)
        return bool(heard)

    await until(pressed)
    assert await daemon.ended(PATIENCE) == 0, daemon.stderr[-2000:]
    assert daemon.said("daemon.stopped")[0]["cut_off"] == 1
    shop.sandbox.answer_for = None
    await _goes_on(shop, repeats=1)
    assert shop.arrived()[-2:] == ["u1-1", "u1-2"]


async def test_a_signal_that_comes_twice_at_once_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the terminal, and from the wrapper that runs us; a person takes longer."""
    loop, stop = asyncio.get_running_loop(), Stop()
    now = loop.time()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        stop.ask()
        stop.ask()
        assert (stop.is_set(), stop.now.is_set()) == (True, False)
        now += 0.5
        stop.ask()
    assert stop.now.is_set()


async def test_who_has_waited_for_a_stop_that_nobody_signalled_is_heard_at_once() -> None:
    """A drain whose time is over, say."""
    stop = Stop()
    stop.set()
    stop.ask()
    assert stop.now.is_set()

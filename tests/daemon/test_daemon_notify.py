"""What the service manager is told, over a socket of the test's own in its place."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.daemon.systemd import Notifier
from shipper.sandbox import Chaos, InjectedFault
from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.processes import until

Message = dict[str, str]

# Far from what a loaded machine might miss, and short enough to see several beats.
_WATCHDOG_USEC = 2_000_000


class Manager:
    """A service manager that only listens."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._heard: list[Message] = []

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    @property
    def heard(self) -> list[Message]:
        """Return everything that was said, in its order."""
        while True:
            try:
                datagram = self._socket.recv(65536).decode()
            except BlockingIOError:
                return self._heard
            self._heard.append(dict(line.split("=", 1) for line in datagram.splitlines()))

    async def hears(self, name: str, *, after: int = 0) -> int:
        """Wait for a message with this field from a position on; return the position behind it."""

        def found() -> int:
            heard = enumerate(self.heard[after:], after + 1)
            return next((behind for behind, message in heard if name in message), 0)

        return await until(found)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Give a service manager that every process started from here on takes for its own."""
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(_WATCHDOG_USEC))
    yield manager
    manager.close()


@only_sqlite
async def test_a_reload_is_told_from_its_beginning_to_its_end(shop: Shop, manager: Manager) -> None:
    """READY, then RELOADING with the moment, then READY again; refused ones are in the status."""
    daemon = await shop.started()
    ready = await manager.hears("READY")
    assert manager.heard[ready - 1]["STATUS"] == "default ready, 0 delivered"
    daemon.signal(signal.SIGHUP)
    reloading = await manager.hears("RELOADING", after=ready)
    assert int(manager.heard[reloading - 1]["MONOTONIC_USEC"]) > 0
    ready = await manager.hears("READY", after=reloading)
    shop.configure(timeout="soon")
    daemon.signal(signal.SIGHUP)
    refused = await manager.hears("READY", after=ready)
    assert "the new configuration is rejected" in manager.heard[refused - 1]["STATUS"]
    await daemon.stop()


@only_sqlite
async def test_a_stop_is_told_when_it_begins_and_feeds_the_watchdog(
    shop: Shop, manager: Manager
) -> None:
    """However long an attempt may take: the time is asked for, and the drain still turns."""
    shop.configure(timeout=60)
    shop.sandbox.answer_for = lambda _: InjectedFault("slow", delay=60.0)
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.arrival("u1-1")
    daemon.signal(signal.SIGTERM)
    stopping = await manager.hears("STOPPING")
    assert int(manager.heard[stopping - 1]["EXTEND_TIMEOUT_USEC"]) > 65_000_000
    beat = await manager.hears("WATCHDOG", after=stopping)
    await manager.hears("WATCHDOG", after=beat)
    assert [m for m in manager.heard[stopping:] if "STATUS" in m] == []


@only_sqlite
async def test_a_stop_after_a_reload_asks_for_the_new_time(shop: Shop, manager: Manager) -> None:
    """Else systemd would cut off what the new configuration lets take longer."""
    daemon = await shop.started()
    shop.configure(timeout=90)
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    daemon.signal(signal.SIGTERM)
    stopping = await manager.hears("STOPPING")
    assert int(manager.heard[stopping - 1]["EXTEND_TIMEOUT_USEC"]) > 95_000_000
    await daemon.told("daemon.stopped")


@only_sqlite
async def test_a_stop_that_comes_during_a_reload_is_not_lost(shop: Shop) -> None:
    """The old session ends, and so does the one that would have followed."""
    daemon = await shop.started()
    daemon.signal(signal.SIGHUP)
    await daemon.told("config.reloaded")
    await daemon.stop()
    assert daemon.said("daemon.stopped", cut_off=0)


@only_sqlite
async def test_an_outage_is_in_the_line_that_a_person_reads(shop: Shop, manager: Manager) -> None:
    """Which destination, how, why, and when next."""
    shop.add("u0-1")
    daemon = await shop.started()
    await until(
        lambda: [m for m in manager.heard if m.get("STATUS") == "default ready, 1 delivered"]
    )
    await daemon.stop()
    shop.configure(api_id="wrong")
    shop.add("u1-1")
    daemon = await shop.started()
    await shop.link_is("paused")
    statuses = await until(
        lambda: [m["STATUS"] for m in manager.heard if "paused" in m.get("STATUS", "")]
    )
    assert statuses[0].startswith("default paused for ")
    assert "HTTP 401" in statuses[0]
    await daemon.stop()


@only_sqlite
async def test_the_first_failure_is_in_the_line_that_a_person_reads(
    shop: Shop, manager: Manager
) -> None:
    """With the next try, though the link is ready as far as is known."""
    shop.sandbox.chaos = Chaos.parse("503:1")
    shop.configure(retry={"min_delay": 3600, "max_delay": 3600, "probe_max_delay": 3600})
    shop.add("u1-1")
    daemon = await shop.started()
    await daemon.told("link.failing")
    [status, *_] = await until(
        lambda: [m["STATUS"] for m in manager.heard if "failed" in m.get("STATUS", "")]
    )
    assert status.startswith("default ready, but the last try failed: HTTP 503")
    assert ", next try in " in status
    await daemon.stop()


@pytest.mark.parametrize(
    ("environ", "every"),
    [
        ({}, 10.0),
        ({"WATCHDOG_USEC": "60000000"}, 10.0),
        ({"WATCHDOG_USEC": "2000000"}, 0.5),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, 10.0),
        ({"WATCHDOG_USEC": "soon"}, 10.0),
        ({"WATCHDOG_USEC": "0"}, 10.0),
    ],
)
def test_the_watchdog_is_fed_several_times_within_its_patience(
    environ: dict[str, str], every: float
) -> None:
    """And what is meant for another process, or is no number, is passed over."""
    assert Notifier(environ).beat_every == every


def test_nobody_has_to_listen(tmp_path: Path) -> None:
    """No socket, one that is gone, one in the abstract namespace: nothing raises."""
    for address in ("", str(tmp_path / "gone"), "@shipper-test-nobody"):
        Notifier({"NOTIFY_SOCKET": address})(READY=1)


def test_a_manager_that_does_not_read_holds_nothing_up(manager: Manager) -> None:
    """What its queue has no room for is said with the next beat, once it reads again."""
    notify = Notifier()
    for beat in range(1000):
        notify(WATCHDOG=1, STATUS=beat)
    notify(READY=1)
    notify(STATUS="stuck")
    assert "READY" not in manager.heard[-1]
    notify(WATCHDOG=1)
    assert manager.heard[-1] == {"WATCHDOG": "1", "READY": "1", "STATUS": "stuck"}

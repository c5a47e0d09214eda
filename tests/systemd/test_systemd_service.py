"""The service as systemd runs it: what it may, who may what, how it dies and comes back."""

import re
from pathlib import Path

import pytest

from shipper.sandbox import InjectedFault
from shipper.store.schema.revisions import REVISIONS
from tests.daemon.harness import API_ID, several
from tests.daemon.processes import PATIENCE, eventually
from tests.systemd.till import (
    APPLICATION,
    CONFIG,
    CREDENTIAL,
    OUTBOX,
    PROGRAM,
    ROOT,
    STRANGER,
    UNIT,
    Till,
)

pytestmark = pytest.mark.xdist_group("machine")  # of which there is one

SLOW = InjectedFault("slow", delay=0.5)
SLOWER = InjectedFault("slow", delay=3.0)
EXPOSURE_AT_MOST = 1.3

# An outbox as an earlier version has made it: URL, revision.
AS_BEFORE = """
import sys
from alembic import command
from shipper.store.upgrade import migrate
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing

engine = open_engine(sys.argv[1], create=True)
with writing(engine) as connection:
    command.upgrade(migrate._config(connection), sys.argv[2])
engine.dispose()
"""


async def requests(till: Till, number: int) -> None:
    """Wait until the API has got so many requests."""
    await till.sandbox.until(lambda ledger: ledger.summary().requests >= number, PATIENCE)


def assert_flawless(till: Till, events: list[str], *, repeats: int) -> None:
    """Fail if an event is missing, one overtook another, or more were repeated than may be."""
    summary = till.sandbox.ledger.summary()
    assert set(till.arrived()) == set(events)
    assert summary.flawless, summary
    assert summary.repeats <= repeats, summary


async def says(till: Till, *parts: str) -> bool:
    """Return whether the line of status that a person sees has these parts."""
    status = (await till.shows("StatusText"))["StatusText"]
    return all(part in status for part in parts)


# -- what it may ----------------------------------------------------------------------------------


async def test_systemd_has_nothing_to_say_about_the_unit(till: Till) -> None:
    """No warning, and hardly anything exposed."""
    verified = await till.run("systemd-analyze", "verify", UNIT)
    assert verified.out + verified.err == ""
    analysed = await till.run("systemd-analyze", "security", "--no-pager", UNIT)
    [level] = re.findall(r"exposure level for \S+: ([0-9.]+)", analysed.out)
    assert float(level) <= EXPOSURE_AT_MOST


async def test_an_application_of_the_group_writes_and_it_arrives(till: Till) -> None:
    """With the sqlite3 shell, under its own user, while the service runs."""
    await till.start()
    await till.becomes(ActiveState="active", SubState="running")
    await till.insert("u1-1", "u2-1")
    await till.arrives("u1-1", "u2-1")
    await till.settled()
    status = await till.run(PROGRAM, "status", "--json", user=APPLICATION)
    assert '"delivered":2' in status.out


async def test_nobody_else_can_read_or_write_the_outbox(till: Till) -> None:
    """A user outside the group doesn't get into the directory."""
    await till.start()
    refused = await till.insert("u1-1", user=STRANGER, check=False)
    assert refused.status != 0
    assert "unable to open" in refused.err
    assert (await till.run("cat", OUTBOX, user=STRANGER, check=False)).status != 0


@pytest.mark.parametrize("user", [APPLICATION, STRANGER])
async def test_nobody_else_can_read_the_api_id(till: Till, user: str) -> None:
    """Neither root's file nor what systemd made of it; nor is it in a log or an argument."""
    await till.start()
    pid = await till.main_pid()
    await till.insert("u1-1")
    await till.arrives("u1-1")
    for file in (CREDENTIAL, f"/run/credentials/{UNIT}/api_id", f"/proc/{pid}/environ"):
        refused = await till.run("cat", file, user=user, check=False)
        assert "Permission denied" in refused.err, file
    assert API_ID not in (await till.run("cat", f"/proc/{pid}/cmdline")).out
    assert API_ID not in await till.journal()


async def test_without_a_network_it_starts_and_waits(till: Till) -> None:
    """What is written meanwhile is shipped as soon as there is one."""
    events = [f"u{n}-1" for n in range(1, 7)]
    await till.drop_in("PrivateNetwork=yes\nWatchdogSec=2")  # which makes the status come sooner
    await till.start()
    await till.insert(*events)
    assert await eventually(lambda: says(till, "default offline for", "next try in"))
    await till.drop_in("")
    await till.run("systemctl", "restart", UNIT)
    await till.arrives(*events)


async def test_an_outbox_in_the_applications_own_directory(till: Till) -> None:
    """With the example of a drop-in as it is packaged."""
    example = (ROOT / "systemd" / "application-directory.conf").read_text("utf-8")
    till.outbox = "/var/lib/shop/shop.db"
    owner = ("-o", APPLICATION, "-g", APPLICATION)
    await till.run("install", "-d", "-m", "2770", *owner, "/var/lib/shop")
    till.configure()
    await till.run(PROGRAM, "db", "upgrade", "--create", user=APPLICATION)
    await till.drop_in(example.partition("[Service]\n")[2])
    await till.start()
    await till.insert("u1-1")
    await till.arrives("u1-1")
    await till.settled()


# -- how it dies and comes back -------------------------------------------------------------------


async def test_one_that_hangs_is_replaced(till: Till) -> None:
    """The watchdog notices that the drain no longer turns."""
    await till.drop_in("WatchdogSec=2\nRestartSec=100ms")
    await till.start()
    pid = await till.main_pid()
    await till.run("kill", "-STOP", pid)
    await till.insert("u1-1")
    await till.told("Watchdog timeout")
    await till.main_pid(other_than=pid)
    await till.arrives("u1-1")


async def test_one_that_is_killed_comes_back_and_nothing_is_lost(till: Till) -> None:
    """What was in flight is repeated, at most."""
    events = several(users=12, each=3)
    await till.drop_in("RestartSec=100ms")
    till.configure(max_in_flight=4)
    till.sandbox.answer_for = lambda _: SLOWER
    await till.insert(*events)
    await till.start()
    pid = await till.main_pid()
    await requests(till, 4)
    await till.run("kill", "-KILL", pid)
    till.sandbox.answer_for = None
    await till.main_pid(other_than=pid)
    await till.settled()
    assert_flawless(till, events, repeats=4)


async def test_a_wrong_configuration_fails_once_and_says_why(till: Till) -> None:
    """Every fault is in the journal with its line; systemd doesn't try again."""
    till.configure(timeout="soon", max_in_flight=0)
    started = await till.run("systemctl", "start", UNIT, check=False)
    assert started.status != 0
    await till.becomes(ActiveState="failed", ExecMainStatus="78", NRestarts="0")
    journal = await till.journal()
    assert f"{CONFIG}:5: destinations.default.timeout: " in journal
    assert f"{CONFIG}:7: destinations.default.max_in_flight: " in journal
    till.configure()
    await till.start()


@pytest.mark.parametrize("configured", [CREDENTIAL, None])
async def test_a_missing_api_id_is_a_wrong_configuration(
    till: Till, configured: str | None
) -> None:
    """And not a failure of systemd's own, whose message would help nobody."""
    await till.run("rm", CREDENTIAL)
    till.configure(api_id_file=configured)
    await till.run("systemctl", "start", UNIT, check=False)
    await till.becomes(ActiveState="failed", ExecMainStatus="78", NRestarts="0")
    reason = f"can't read {CREDENTIAL}: " if configured else "api_id or api_id_file: is missing"
    assert reason in await till.journal()


async def test_the_credential_alone_is_enough(till: Till) -> None:
    """The configuration need not name a file."""
    till.configure(api_id_file=None)
    await till.start()
    await till.insert("u1-1")
    await till.arrives("u1-1")


async def test_a_reload_picks_up_a_changed_configuration(till: Till) -> None:
    """The process stays the same, and `systemctl reload` returns when it is done."""
    till.configure(url=till.sandbox.url + "/elsewhere")
    await till.start()
    pid = await till.main_pid()
    await till.insert("u1-1")
    await till.told("link.paused")
    till.configure()
    await till.run("systemctl", "reload", UNIT)
    await till.arrives("u1-1")
    assert await till.main_pid() == pid


async def test_a_reload_with_faults_is_refused(till: Till) -> None:
    """What ran goes on, and `systemctl status` says so."""
    await till.start()
    till.configure(timeout="soon")
    await till.run("systemctl", "reload", UNIT)
    await till.told("config.rejected")
    await till.insert("u1-1")
    await till.arrives("u1-1")
    assert await eventually(lambda: says(till, "default ready", "new configuration is rejected"))


async def test_a_stop_lets_finish_what_is_in_flight(till: Till) -> None:
    """Nothing is cut off, so that nothing is repeated, even where it takes longer than usual."""
    await till.drop_in("TimeoutStopSec=1")
    till.sandbox.answer_for = lambda _: SLOWER
    await till.insert("u1-1", "u2-1", "u1-2")
    await till.start()
    await requests(till, 2)
    await till.run("systemctl", "stop", UNIT)
    await till.becomes(ActiveState="inactive", Result="success", ExecMainStatus="0")
    assert "daemon.stopped cut_off=0" in await till.journal()
    till.sandbox.answer_for = None
    await till.start()
    await till.settled()
    assert_flawless(till, ["u1-1", "u2-1", "u1-2"], repeats=0)


async def in_mid_drain(till: Till) -> list[str]:
    """Let an enabled service ship to a slow API; return the events when the first are under way."""
    events = several(users=8, each=10)
    till.configure(max_in_flight=4)
    till.sandbox.answer_for = lambda _: SLOW
    await till.run("systemctl", "enable", UNIT)
    await till.insert(*events)
    await till.start()
    await requests(till, 5)
    return events


async def test_a_reboot_in_the_middle_of_a_drain_loses_nothing(till: Till) -> None:
    """The service is back with the machine; nothing is repeated, because it was stopped cleanly."""
    events = await in_mid_drain(till)
    await till.machine.reboot()
    assert len(till.arrived()) < len(events)
    till.sandbox.answer_for = None
    await till.settled()
    assert_flawless(till, events, repeats=0)


async def test_a_power_cut_in_the_middle_of_a_drain_loses_nothing(till: Till) -> None:
    """What was in flight is repeated, at most."""
    events = await in_mid_drain(till)
    await till.machine.cut_power()
    till.sandbox.answer_for = None
    await till.settled()
    assert_flawless(till, events, repeats=4)


async def test_an_outbox_of_the_previous_schema_is_upgraded_with_its_data(till: Till) -> None:
    """By the service itself, when it starts; what was pending in it is shipped."""
    await till.run("rm", till.outbox)
    python = str(Path(PROGRAM).with_name("python"))
    await till.run(python, "-c", AS_BEFORE, f"sqlite:///{till.outbox}", REVISIONS[-2])
    await till.insert("u1-1", "u2-1", "u1-2")
    await till.start()
    await till.settled()
    assert_flawless(till, ["u1-1", "u2-1", "u1-2"], repeats=0)
    current = await till.run(PROGRAM, "db", "current")
    assert REVISIONS[-1] in current.out
    await till.run(PROGRAM, "verify")

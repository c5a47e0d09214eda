"""`shipper status --nagios` and `--watch`: for a monitoring plugin, and for a person who waits."""

import re
import signal
from functools import partial
from pathlib import Path

import pytest

from shipper.cli.output.nagios import plugin_line
from shipper.observe.situation import Hours, Situation
from shipper.observe.troubles import Severity
from shipper.store.lease.file_lock import FileLock
from shipper.store.report.budget import Footprint
from shipper.store.report.facts import Growth
from shipper.store.report.status import DestinationReport
from tests.cli.command_line import VIEW, Home
from tests.cli.terminal import draw
from tests.cli.test_operating_commands import write

HOUR = 3600.0
# label=value[unit];warn;crit;min, as monitoring-plugins.org/doc/guidelines.html has it.
DATUM = re.compile(r"[\w.-]+=[0-9.]+(s|c|B)?;[0-9]*;[0-9]*;0")


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an empty outbox on SQLite."""
    return Home(tmp_path, sqlite_url)


def report(**facts: object) -> DestinationReport:
    """Return a destination that is well but for these facts."""
    well: dict[str, object] = {
        "name": "default", "state": "ready", "reason": None, "since": None, "next_try_at": None,
        "pending": 0, "delivered": 7, "dead": 0, "discarded": 0, "purged": 0, "held_keys": 0,
        "oldest_pending_seconds": None,
    }  # fmt: skip
    return DestinationReport(**(well | facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "level", "message"),
    [
        ({}, Severity.OK, "0 pending"),
        ({"state": "ramping", "pending": 3}, Severity.OK, "3 pending"),
        (
            {"state": "offline", "reason": "refused"},
            Severity.WARNING,
            "default is offline: refused",
        ),
        ({"state": "throttled"}, Severity.WARNING, "default is throttled"),
        ({"state": "held"}, Severity.WARNING, "default is held"),
        ({"dead": 2}, Severity.WARNING, "default: 2 dead letters"),
        ({"held_keys": 1}, Severity.WARNING, "default: 1 key held"),
        ({"state": "paused", "reason": "401"}, Severity.CRITICAL, "default is paused: 401"),
        ({"pending": 1, "oldest_pending_seconds": HOUR}, Severity.OK, "1 pending"),
        (
            {"pending": 1, "oldest_pending_seconds": HOUR + 1},
            Severity.CRITICAL,
            "default: the oldest event has been pending for 60 minutes",
        ),
        ({"name": "gone", "state": "paused"}, Severity.OK, "0 pending"),
        ({"name": "gone", "state": "paused", "pending": 1}, Severity.CRITICAL, "gone is paused"),
    ],
)
def test_how_bad_it_is(facts: dict[str, object], level: Severity, message: str) -> None:
    """As the help says it."""
    line = plugin_line(Situation([report(**facts)], ["default"], is_shipped=True, oldest=HOUR))
    assert line.level is level
    text, _, data = line.text.partition(" | ")
    assert text == f"SHIPPER {level.name} - {message}"
    assert all(map(DATUM.fullmatch, data.split()))


def test_the_worst_comes_first() -> None:
    """A pager shows only the beginning of the line."""
    reports = [report(dead=1), report(name="other", state="paused")]
    line = plugin_line(Situation(reports, ["default", "other"], is_shipped=True, oldest=HOUR))
    assert line.text.startswith("SHIPPER CRITICAL - other is paused; default: 1 dead letter | ")


def test_what_came_from_outside_stays_on_the_line() -> None:
    """And doesn't begin the performance data, nor steer a terminal."""
    odd = report(name="a='b c", state="paused", reason="x | y=1\n\x1b[2J", pending=1)
    line = plugin_line(Situation([odd], [], is_shipped=True, oldest=HOUR))
    assert "\n" not in line.text
    assert "\x1b" not in line.text
    assert line.text.count("|") == 1
    assert all(map(DATUM.fullmatch, line.text.partition(" | ")[2].split()))


def test_nobody_ships_while_something_is_pending(home: Home) -> None:
    """Without pending events it isn't critical."""
    ran = home.call("status", "--nagios")
    assert (ran.status, ran.out.startswith("SHIPPER OK - 0 pending | ")) == (0, True)
    write(home, VIEW, "a")
    ran = home.call("status", "--nagios")
    assert (ran.status, ran.err) == (2, "")
    assert ran.out.startswith("SHIPPER CRITICAL - 1 pending and no daemon is running | default_")
    lock = FileLock(home.directory / "shop.db")
    lock.acquire()
    assert home.run("status", "--nagios").status == 0
    assert home.run("status", "--nagios", "--oldest", "0s").status == 2
    lock.release()


def test_what_cannot_be_told_is_unknown(home: Home) -> None:
    """A database that is away and a wrong configuration: 3, on stdout, as plugins do."""
    (home.directory / "shop.db").unlink()
    ran = home.call("status", "--nagios")
    assert (ran.status, ran.err) == (3, "")
    assert ran.out.startswith("SHIPPER UNKNOWN - ")
    home.config.write_text("no")
    ran = home.call("status", "--nagios")
    assert (ran.status, len(ran.out.splitlines())) == (3, 1)


def test_nobody_watches_without_a_terminal(home: Home) -> None:
    """Without a terminal it would never end."""
    ran = home.call("status", "--watch")
    assert (ran.status, ran.out) == (2, "")
    assert "hint: shipper status" in ran.err


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_who_watches_gets_the_terminal_back(home: Home, ends: signal.Signals) -> None:
    """Ctrl-C ends it with exit status 0."""
    write(home, VIEW, "a")
    drawn = draw(home, "status", "--watch", seen="no daemon is running", ends=ends)
    assert (drawn.status, drawn.gives_the_terminal_back) == (0, True)
    assert re.search(r"default +ready +1 ", drawn.text)
    assert re.search(r"default +0 delivered/min  [▁█]{20,60}", drawn.text)


def test_a_narrow_terminal_has_it_in_blocks(home: Home) -> None:
    """Nothing is cut off."""
    drawn = draw(home, "status", "--watch", seen="no daemon", columns=40)
    assert re.search(r"destination +default", drawn.text)
    assert re.search(r"pending +0", drawn.text)


@pytest.mark.parametrize(
    ("taken", "level"), [(500, Severity.OK), (850, Severity.WARNING), (1000, Severity.CRITICAL)]
)
def test_a_budget_has_its_bounds(taken: int, level: Severity) -> None:
    """And its place among the performance data."""
    found = Footprint(taken, False, Growth(0, 0), 1000)
    line = plugin_line(
        Situation([report()], ["default"], is_shipped=True, oldest=HOUR, taken=found)
    )
    assert line.level is level
    *_, datum = line.text.split()
    assert datum == f"outbox={taken}B;800;1000;0"
    assert DATUM.fullmatch(datum)
    assert (level is Severity.OK) == ("of its budget of 1.0 kB" not in line.text)


def test_status_tells_how_full_the_outbox_is(home: Home) -> None:
    """If the configuration has a budget."""
    assert home.call("status", "--json").value["space"] is None
    home.config.write_text(home.config.read_text() + '[space]\nbudget = "1MB"\n')
    space = home.call("status", "--json").value["space"]
    assert space["budget"] == 10**6
    assert space["bytes"] > 10_000
    assert not space["is_estimate"]
    assert "of its budget of 1.0 MB" in home.call("status").err


NEVER = '[schedule]\nwindows = ["0 0 30 2 *"]\n'


def test_a_closed_window_is_told_where_the_state_is(home: Home) -> None:
    """The link is well, so it stays `ready`; but nothing goes out, and the reason says so."""
    write(home, VIEW, "a")
    lock = FileLock(home.directory / "shop.db")
    lock.acquire()
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", NEVER)
    closed = "window closed for ever (UTC)"
    told = home.call("status", "--json").value["destinations"]["default"]
    assert (told["state"], told["reason"]) == ("ready", closed)
    assert f"\t{closed}" in home.call("status").out
    ran = home.call("status", "--nagios", "--oldest", "0s")
    assert (ran.status, ran.out.partition(" | ")[0]) == (0, f"SHIPPER OK - 1 pending; {closed}")
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e")
    assert home.call("status", "--nagios", "--oldest", "0s").status == 2
    lock.release()


def test_a_closed_window_hides_no_trouble(home: Home) -> None:
    """A paused destination stays paused, with its reason; no running daemon is still critical."""
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", NEVER)
    write(home, VIEW, "a")
    ran = home.call("status", "--nagios")
    assert (ran.status, ran.out.partition(" | ")[0]) == (
        2, "SHIPPER CRITICAL - 1 pending and no daemon is running; window closed for ever (UTC)",
    )  # fmt: skip
    paused = report(state="paused", reason="401")
    known = Situation([paused], ["default"], is_shipped=True, hours=Hours("window closed"))
    assert known.closed_for(paused) is None
    assert known.closed_for(report(name="gone")) is None
    assert known.closed_for(report(failures=2)) == "window closed"


def _counted(hours: float, _age: float, _enough: float) -> float:
    return hours * HOUR


def test_only_open_hours_make_an_event_late() -> None:
    """One that has waited through the open hours is late, also while a window is closed."""
    late = report(pending=1, oldest_pending_seconds=10 * HOUR)
    for hours, expected in [(0.0, Severity.OK), (1.0, Severity.OK), (1.1, Severity.CRITICAL)]:
        windows = Hours("window closed", partial(_counted, hours))
        known = Situation([late], ["default"], is_shipped=True, oldest=HOUR, hours=windows)
        assert plugin_line(known).level is expected

"""`shipper top`: what it draws of the links and of the last hour, on every kind of terminal."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from shipper.cli.commands.top import Picture, Rates
from shipper.cli.output.bars import ASCII_BARS, bars
from shipper.cli.output.context import Context
from shipper.clock import Clock, SystemClock
from shipper.store.db.engine import database_path, open_engine
from shipper.store.lease.file_lock import FileLock
from shipper.store.report.minutes import Minute, add
from tests.cli.command_line import VIEW, Home
from tests.cli.terminal import draw
from tests.cli.test_operating_commands import DEAD_PAYLOAD, lines, write
from tests.cli.test_status_views import report

MINUTE = SystemClock().wall() // 60 * 60


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give an outbox with a pending event, and two minutes in the statistics."""
    home = Home(tmp_path, sqlite_url)
    write(home, VIEW, "a")
    engine = open_engine(sqlite_url)
    add(
        engine,
        [
            Minute(MINUTE - 120, "default", 1200, 3, 0, 600.0, 2.5),
            Minute(MINUTE - 60, "default", 4321, 0, 1, 432.1, 75.0),
            Minute(MINUTE - 7200, "default", 9, 0, 0, 1.0, 1.0),
        ],
        MINUTE,
    )
    engine.dispose()
    return home


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([0, 0], "▁▁"),
        ([1, 1], "██"),
        ([0, 1, 700], "▁▂█"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
    ],
)
def test_bars_are_as_high_as_their_values(values: list[float], drawn: str) -> None:
    """Every value above 0 is higher than 0."""
    assert bars(values) == drawn


def test_bars_of_a_plain_terminal() -> None:
    """Only ASCII, rising as well."""
    assert bars([0, 1, 7], ASCII_BARS) == "_.#"


def test_the_rate_is_of_the_last_drawings() -> None:
    """An event that retention deletes still counts as delivered."""
    rates = Rates()
    rates.see(10.0, [report(delivered=100, purged=0)])
    assert rates.of("default") == 0.0
    rates.see(12.0, [report(delivered=50, purged=70)])
    assert rates.of("default") == 10.0
    assert rates.of("new") == 0.0


class Stopped(SystemClock):
    """A clock that stands, two seconds into the minute after the last one of the fixture."""

    def wall(self) -> float:
        """Return that moment."""
        return MINUTE + 2.0


class Later(SystemClock):
    """A clock that is ahead by as long as an event may wait in a test."""

    def wall(self) -> float:
        """Return a moment when the fixture's event waits for half an hour."""
        return super().wall() + 1800.0


def picture(home: Home, width: int, clock: Clock | None = None) -> list[str]:
    """Return the lines that are drawn for a width."""
    drawn = Picture(Context(home.config, environ={}), clock or Stopped()).draw(width)
    console = Console(width=width, file=StringIO())
    console.print(drawn)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def row(lines: list[str], label: str) -> str:
    """Return the one line that begins with a label."""
    [found] = [line for line in lines if line.startswith(label)]
    return found


def test_a_wide_terminal_shows_the_last_hour(home: Home) -> None:
    """The latest number before the bars; the running minute isn't finished, and looks so."""
    drawn = picture(home, 120)
    assert row(drawn, "default  ").endswith("0.0/s, 0 delivered")
    delivered = row(drawn, "  delivered/min")
    assert delivered.split()[1] == "4,321"
    assert delivered.split()[2] == "▁" * 57 + "▃█…"
    assert row(drawn, "  dead/min").split()[1:] == ["1", "▁" * 58 + "█…"]
    assert row(drawn, "  latency").split()[1] == "0.10s"
    assert row(drawn, "  longest").split()[1] == "1m"


def test_the_time_is_below_the_bars(home: Home) -> None:
    """As many minutes as there are, the middle one, and now; where there is room for them."""
    axis = row(picture(home, 120), " " * 27 + "-")
    assert axis.split() == ["-60", "min", "-30", "now"]
    assert len(axis) == len(row(picture(home, 120), "  delivered/min"))
    assert row(picture(home, 40), " " * 27 + "-").split() == ["-13", "min", "now"]
    wide = picture(home, 200)
    assert row(wide, "  delivered/min").split()[2] == "▁▁" * 57 + "▃▃██……"
    assert len(row(wide, " " * 27 + "-")) == len(row(wide, "  delivered/min"))


def test_a_minute_that_runs_may_have_something_already(home: Home) -> None:
    """Then it is drawn, but the number is of the last whole one."""
    engine = open_engine(f"sqlite:///{home.directory / 'shop.db'}")
    add(engine, [Minute(MINUTE, "default", 10000, 0, 0, 1.0, 1.0)], MINUTE)
    engine.dispose()
    delivered = row(picture(home, 120), "  delivered/min")
    assert delivered.split()[1:] == ["4,321", "▁" * 57 + "▃██"]


def test_it_says_what_waits_and_what_was_refused(home: Home) -> None:
    """Causes of dead letters, held keys, and the oldest events."""
    write(home, DEAD_PAYLOAD, "k")
    home.call("drain")
    assert home.call("hold", "--key", "u7").status == 0
    drawn = picture(home, 120)
    assert row(drawn, "default  ").endswith(", 1 key held, 1 dead, 0 delivered")
    assert row(drawn, "  dead letters") == "  dead letters  1 invalid"
    assert row(drawn, "  held keys") == "  held keys     u7"
    assert row(drawn, "  oldest").split()[1:3] == ["1", "a"]


@pytest.mark.parametrize(
    ("more", "worst"),
    [
        ('[alerts]\noldest_pending = "10m"\n', "the oldest event has been pending for 30 min"),
        ('[space]\nbudget = "1MB"\n', " of its budget of 1.0 MB"),
    ],
)
def test_it_begins_with_what_status_begins_with(
    home: Home, sqlite_url: str, more: str, worst: str
) -> None:
    """By the same settings: for how long an event may wait, and how much room all may take."""
    home.configure(sqlite_url, "http://127.0.0.1:9/e", more)
    file = database_path(sqlite_url)
    assert file is not None
    lock = FileLock(file)
    lock.acquire()
    with file.open("ab") as grown:
        grown.truncate(2 * 10**6 // 4096 * 4096)
    drawn = picture(home, 120, Later())
    assert drawn[1].startswith("critical: ")
    assert worst in drawn[1]
    lock.release()


@pytest.mark.parametrize("height", [1, 3, 6, 10, 24, 50])
def test_what_is_missed_least_gives_way(home: Home, height: int) -> None:
    """A low terminal has the state and what is delivered; nothing is below its end."""
    context = Context(home.config, environ={})
    drawn = Picture(context, Stopped()).draw(80, height)
    console = Console(width=80, file=StringIO())
    console.print(drawn)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= max(height, 2)
    assert any("delivered/min" in line for line in lines) == (height > 3)
    assert any("longest" in line for line in lines) == (height > 10)


def test_a_narrow_terminal_shows_fewer_minutes(home: Home) -> None:
    """The newest ones; no line of bars is broken."""
    delivered = row(picture(home, 40), "  delivered/min")
    assert delivered.endswith("▁▃█…")
    assert len(delivered) <= 40
    assert row(picture(home, 20), "  delivered/min")


def test_it_draws_on_a_terminal(home: Home) -> None:
    """And restores the terminal."""
    drawn = draw(home, "top", seen="longest")
    assert (drawn.status, drawn.gives_the_terminal_back, drawn.has_colours) == (0, True, True)
    assert "default  ready  1 pending" in drawn.text


def test_no_colour_where_none_is_wanted(home: Home) -> None:
    """no-color.org."""
    for arguments in (("top",), ("status", "--watch")):
        drawn = draw(home, *arguments, seen="default", NO_COLOR="1")
        assert (drawn.status, drawn.has_colours) == (0, False)


def test_minutes_for_a_program(home: Home) -> None:
    """Those of the last hour, once."""
    found = lines(home.call("top", "--json"))
    assert [minute["delivered"] for minute in found] == [1200, 4321]
    assert found[0].items() >= {
        "destination": "default", "retried": 3, "dead": 0,
        "latency_mean_seconds": 0.5, "latency_max_seconds": 2.5,
    }.items()  # fmt: skip


def test_nobody_looks_without_a_terminal(home: Home) -> None:
    """The hint says what to do instead."""
    ran = home.call("top")
    assert (ran.status, ran.out) == (2, "")
    assert "hint: shipper top --json" in ran.err

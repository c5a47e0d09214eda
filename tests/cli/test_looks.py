"""What commands print on a real terminal: tables that fit, labels, states, errors."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from shipper.demo.summary import DemoSummary
from tests.cli.command_line import VIEW, Home
from tests.cli.terminal import shown
from tests.cli.test_operating_commands import execute, kill, write

KEY = "2b5c1e0a-7f39-4d0e-9a57-3d1f6f1c8e44"
NO_COLOURS = ({"NO_COLOR": "1"}, {"TERM": "dumb"})


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give an outbox with two pending events and a dead letter."""
    home = Home(tmp_path, sqlite_url)
    kill(home, KEY)
    write(home, VIEW, KEY)
    write(home, VIEW, KEY)
    return home


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_events_are_a_table(home: Home, columns: int) -> None:
    """One header and one row per event, within the terminal's width; only an error is folded."""
    drawn = shown(home, "events", "list", columns=columns)
    lines = drawn.text.splitlines()
    assert lines[0].split()[:3] == ["id", "status", "written"]
    assert [line.split()[0] for line in lines if line[:3].strip()] == ["id", "3", "2", "1"]
    assert len(lines) <= 5
    assert all(len(line.rstrip()) <= columns for line in lines)
    assert b"\x1b[33mpending" in drawn.raw
    assert b"\x1b[1;31mdead" in drawn.raw


def test_a_pipe_gets_everything(home: Home) -> None:
    """Tabs, whole values, and no colours: as a program reads it."""
    header, *rows = home.run("events", "list").out.splitlines()
    assert header.split("\t") == [
        "id", "status", "written", "destination", "key", "event id", "last error",
    ]  # fmt: skip
    assert [len(row.split("\t")) for row in rows] == [7, 7, 7]
    assert rows[0].split("\t")[4] == KEY


@pytest.mark.parametrize("command", [("events", "show", "1"), ("dead", "show", "1")])
def test_one_event_has_labels_a_state_and_its_payload(home: Home, command: tuple[str, ...]) -> None:
    """Bold, coloured as in a list, indented; no line of a sentence is wider than the terminal."""
    drawn = shown(home, *command, columns=60)
    assert b"\x1b[1mstatus       \x1b[0m\x1b[1;31mdead\x1b[0m\n" in drawn.raw
    assert '\n  {\n    "type": "view"' in drawn.text
    assert "sent as written" in drawn.text
    assert all(len(line) <= 60 for line in drawn.text.splitlines())
    assert "  tried at" not in drawn.text
    raw = home.run(*command).out
    assert "\npayload      {" in raw
    assert "\x1b" not in raw


@pytest.mark.parametrize("environ", NO_COLOURS)
@pytest.mark.parametrize(
    "command", [("events", "list"), ("events", "show", "1"), ("status",), ("dead", "retry", "9")]
)
def test_no_colours_where_none_are_wanted(
    home: Home, command: tuple[str, ...], environ: dict[str, str]
) -> None:
    """And no bold text; the width is still the terminal's."""
    drawn = shown(home, *command, columns=100, **environ)
    assert b"\x1b" not in drawn.raw
    assert all(len(line.rstrip()) <= 100 for line in drawn.text.splitlines())


@pytest.mark.parametrize("command", [("top",), ("status", "--watch")], ids=" ".join)
def test_a_terminal_that_cannot_be_drawn_on_is_told_so(
    home: Home, command: tuple[str, ...]
) -> None:
    """With a command that works there, instead of a blank screen."""
    drawn = shown(home, *command, columns=100, TERM="dumb")
    assert drawn.status == 2
    assert "can't draw on this terminal ($TERM)" in drawn.text
    assert "hint: shipper " in drawn.text


def test_colours_can_be_forced_into_a_pipe(home: Home) -> None:
    """For `less -R`; a table for programs stays as it is."""
    assert "\x1b[1mevent" in home.run("events", "show", "1", FORCE_COLOR="1").out
    assert "\x1b" not in home.run("events", "list", FORCE_COLOR="1").out
    assert home.run("events", "show", "1", "--json", CLICOLOR_FORCE="1").value["status"] == "dead"


def test_an_error_says_who_speaks(home: Home) -> None:
    """In red, also for mistakes in the configuration, whose lines begin with file and line."""
    drawn = shown(home, "events", "show", "99")
    assert drawn.raw.startswith(b"\x1b[1;31mshipper:\x1b[0m there is no event 99\n")
    assert b"\x1b[1mhint:\x1b[0m" in drawn.raw
    home.config.write_text(home.config.read_text() + "[log]\nlevle = 1\nformat = 7\n")
    drawn = shown(home, "status")
    assert drawn.raw.startswith(b"\x1b[1;31mshipper:\x1b[0m the configuration has 2 faults\n")
    assert "\nshipper.toml:7: unknown setting log.levle" in drawn.text
    assert home.run("status").err.startswith("shipper.toml:7: ")


@pytest.mark.parametrize("columns", [50, 80])
@pytest.mark.parametrize(
    "command",
    [
        ("check",), ("status",), ("verify",), ("doctor", "--no-network"), ("drain",),
        ("events", "reroute", "ALL", "--to", "nowhere_at_all"), ("hold", "--key", "nobody-has-it"),
        ("dead", "list", "--cause", "nothing-died-of-this"), ("backup", "copy.db"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_word_is_broken(home: Home, command: tuple[str, ...], columns: int) -> None:
    """A sentence is folded between words; only a word that is longer than a line stays whole."""
    execute(home, "UPDATE shipper_destination SET delivered = 9")  # verify finds something
    drawn = shown(home, *command, columns=columns)
    too_long = [line for line in drawn.text.splitlines() if len(line.rstrip()) > columns]
    room = columns // 3
    assert [line for line in too_long if max(map(len, line.split())) < room] == []


def test_a_sentence_uses_the_whole_width(home: Home) -> None:
    """The codes of colours don't count."""
    drawn = shown(home, "-c", "nowhere.toml", "status", columns=80)
    assert drawn.text.splitlines()[0].startswith("shipper: nowhere.toml: can't be read: No such")


def test_what_goes_on_is_indented(home: Home) -> None:
    """So a folded line differs from the next problem."""
    drawn = shown(home, "status", columns=50)
    lines = drawn.text[: drawn.text.index("destination")].splitlines()
    assert len(lines) > 2
    assert all(line.startswith(("critical: ", "warning: ", "  ")) for line in lines)


def test_dead_letters_are_listed_with_what_was_said(home: Home) -> None:
    """On one line at any width: the receiver's answer, or shipper's own error."""
    for columns in (80, 200):
        drawn = shown(home, "dead", "list", columns=columns)
        assert "message" in drawn.text.splitlines()[0]
        assert "event must have required" in drawn.text


def test_thousands_are_apart_for_a_person_only(home: Home) -> None:
    """A program gets digits only."""
    execute(home, "UPDATE shipper_destination SET delivered = 6661")
    assert " 6,661 " in shown(home, "status", columns=100).text
    assert "\t6661\t" in home.run("status").out
    assert home.run("status", "--json").value["destinations"]["default"]["delivered"] == 6661


def test_the_demo_leaves_its_last_view_and_a_summary(home: Home) -> None:
    """The numbers of both are the same, so that they can be compared."""
    drawn = shown(home, "demo", "--seconds", "1")
    *_, last = drawn.text.split("the shop is closed; this is the result")
    written = re.findall(r"written(?: by the shop)? +([0-9,]+)", last)
    assert len(written) == 2
    assert len(set(written)) == 1
    assert "every event is accounted for" in last


def test_a_summary_explains_what_looks_bad() -> None:
    """Dead letters and repeats are explained, and mentioned only if there are any."""
    summary = DemoSummary(9, 8, 0, 1, 2, 0, 0.5, balanced=True)
    assert summary.explanations().keys() == {"dead", "repeats"}
    assert "on purpose" in summary.explanations()["dead"]
    assert replace(summary, dead=0, repeats=0).explanations() == {}

"""The manual has a chapter for everything, and `shipper help` shows each of them."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from shipper.cli.grammar.manual import CHAPTERS, SECTIONS, text_of
from shipper.cli.grammar.registry import COMMANDS, Command
from shipper.cli.output.markdown import draw
from shipper.logs import EVENTS
from shipper.observe import alarms
from shipper.sandbox import chaos
from shipper.sandbox.chaos import Chaos
from tests.cli.command_line import Home
from tests.docs.documents import DOCUMENTS, MANUAL, calls
from tests.observe import parts
from tests.observe.test_metrics import rendered

_ROW = re.compile(r"^\| `([^`]+)` \| (\w+) \| ([^|]*) \| [^|]+ \|$", re.MULTILINE)


def rows(chapter: str) -> dict[str, tuple[str, set[str]]]:
    """Return a reference's rows by their name: the second cell, and the names in the third."""
    found = _ROW.findall(DOCUMENTS[MANUAL / f"{chapter}.md"])
    assert len(found) == len({name for name, *_ in found})
    return {name: (second, set(re.findall(r"`(\w+)`", third))) for name, second, third in found}


def test_every_file_is_a_chapter_and_every_chapter_is_a_file_or_made() -> None:
    """None is forgotten on either side."""
    assert {path.stem for path in MANUAL.iterdir()} == {
        name for name, chapter in CHAPTERS.items() if chapter.make is None
    }


def test_every_section_with_a_name_is_there() -> None:
    """The names of former chapters still show what they showed."""
    for name in SECTIONS:
        assert name not in CHAPTERS
        text = text_of(name)
        assert text.startswith("# ")
        assert len(text.splitlines()) > 3


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_every_command_is_in_the_manual(command: Command) -> None:
    """A chapter or the README says when to use it."""
    called = f"shipper {command.words} "
    assert [call for call in calls() if f"{call} ".startswith(called)]


def test_every_metric_is_in_the_reference() -> None:
    """With its type and its labels, as `/metrics` has them; and no other is."""
    text = rendered(parts.figures())
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    told = {name: (kind, set[str]()) for name, kind in types.items()}
    for name, labels in re.findall(r"^(\w+)\{(.*?)\}", text, re.MULTILINE):
        family = name if name in told else re.sub(r"_(bucket|count|sum)$", "", name)
        told[family][1].update(re.findall(r"(\w+)=", labels) if family in told else ())
    for _, labels in told.values():
        labels.discard("le")
    assert rows("metrics") == told


def test_every_event_of_the_log_is_in_the_reference() -> None:
    """With its level and its fields; and no other is."""
    assert rows("log") == {name: (level, set(fields)) for name, (level, fields) in EVENTS.items()}


def test_every_alarm_is_in_the_chapter_on_monitoring() -> None:
    """By the name that the webhook gets; and no other is."""
    source = Path(alarms.__file__).read_text("utf-8")
    text = DOCUMENTS[MANUAL / "monitoring.md"].partition("\n| alarm |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    raised = {*re.findall(r'Condition\("(\w+)"', source)}
    assert sorted(told) == sorted(raised)


def test_every_fault_of_the_sandbox_is_in_the_manual() -> None:
    """As an item that it understands."""
    section = text_of("operating").partition("| item |")[2]
    items = re.findall(r"`([^`]+)`", section.partition("\n\n")[0].replace("`Retry-After`", ""))
    for item in items:
        Chaos.parse(item.replace("/DUR", "/9s").replace("DUR", "2s").replace(":P", ":0.5"))
    assert {item.partition(":")[0] for item in items} == {"503", "429", *chaos._WORDS}


def test_a_link_to_a_chapter_is_the_command_that_shows_it(tmp_path: Path) -> None:
    """On a terminal it leads nowhere; on GitHub it leads to the file."""
    assert "see [containers](containers.md)." in DOCUMENTS[MANUAL / "service.md"]
    shown = Home(tmp_path, "sqlite:///none.db").call("help", "service").out
    assert "see `shipper help containers`." in shown
    assert "systemd/in-a-container.conf (in the repository)" in " ".join(shown.split())
    for name in CHAPTERS:
        assert "```mermaid" not in text_of(name)
        assert re.findall(r"\]\((?!https?:)", text_of(name)) == [], name


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_link_reads_well_as_a_command(name: str) -> None:
    """On a terminal `the [log](log.md)` would be "the `shipper help log`"."""
    assert re.findall(r"\b(?:an?|the|chapter)\s+`shipper help [^`]*`", text_of(name)) == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_chapter_paints_a_background(name: str) -> None:
    """A dark box behind code can't be read on a light terminal."""
    screen = Console(file=StringIO(), force_terminal=True, color_system="standard", width=80)
    draw(text_of(name), screen)
    assert isinstance(screen.file, StringIO)
    shown = screen.file.getvalue()
    codes = {code for codes in re.findall(r"\x1b\[([\d;]*)m", shown) for code in codes.split(";")}
    assert not codes & {str(code) for code in (7, *range(40, 50), *range(100, 108))}
    assert "```" not in shown

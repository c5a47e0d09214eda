"""Every example of a command in the manual's chapters is run as it stands there."""

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.cli.command_line import VIEW, Home, Ran
from tests.cli.test_operating_commands import execute, write
from tests.docs.documents import DOCUMENTS, MANUAL, blocks, run_of
from tests.docs.place import Place

Lines = Sequence[str]
_ASKED = ("dead retry", "dead discard", "events reroute ALL")
_OTHER = '[destinations.{}]\nurl = "http://127.0.0.1:9/e"\napi_id = "any"\n'
# What stands for a value, with a value that the outbox below knows.
_PLACEHOLDERS = {"NAME": "other", "ID": "17", "2026-11-23T08:15": "2099-01-01T00:00"}


def furnished(place: Place, destination: str = "other") -> Home:
    """Return an outbox with something of everything, and two configured destinations.

    Events 17 and 18 were refused, 4711 names another destination, and 4712 waits.
    """
    home = place.home("422")
    home.config.write_text(home.config.read_text() + _OTHER.format(destination))
    start(home, 16, "first", "second")
    assert home.call("drain").status == 1
    start(home, 4710, "third", destination="defualt")
    write(home, VIEW, "USER")
    return home


def start(home: Home, after: int, *keys: str, destination: str = "default") -> None:
    """Write an event for each key; the ids begin behind one."""
    execute(home, "DELETE FROM sqlite_sequence WHERE name = 'shipper_outbox'")
    statement = "INSERT INTO sqlite_sequence (name, seq) VALUES ('shipper_outbox', :after)"
    execute(home, statement, after=after)
    write(home, VIEW, *keys, destination=destination)


def ran(home: Home, line: str, *expected: int) -> Ran:
    """Run a line as a person would, with a value for each placeholder."""
    words = [_PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)[1:]]
    if " ".join(words).startswith(_ASKED) and "--dry-run" not in words:
        words.append("--yes")
    if words == ["top"]:
        words.append("--json")  # without it, it draws, and needs a terminal
    found = home.call(*words)
    assert found.status in (expected or (0,)), (line, found)
    assert f"{found.out}{found.err}".strip() or words[0] == "top", line
    return found


def each_alone(place: Place, lines: Lines) -> None:
    """Run each line on a copy of one outbox: none needs what another one did."""
    home = furnished(place)
    for line in lines:
        ran(place.copy(home), line, *((1,) if "doctor" in line else (0,)))


def one_after_the_other(place: Place, lines: Lines) -> None:
    """Run the lines on one outbox, as a person would."""
    home = furnished(place)
    for line in lines:
        ran(home, line)


def with_a_daemon(place: Place, lines: Lines) -> None:
    """Run the lines while a daemon ships and has nothing to complain of."""
    home = place.home("204", "a", "b")
    web = f'[web]\nlisten = "unix:{home.directory}/web.sock"\n'
    home.config.write_text(home.config.read_text() + web)
    with home.running("run") as daemon:
        assert daemon.stderr is not None
        assert any(b"daemon.started" in line for line in daemon.stderr)
        assert home.call("drain").status == 0
        for line in lines:
            # It may run as root, or on a file system that a test's directory is on.
            ran(home, line, *((0, 1) if "doctor" in line else (0,)))


def operating(place: Place, lines: Lines) -> None:
    """Run from `status` to `backup` on one outbox."""
    home = place.home("422")
    start(home, 4709, "refused")
    write(home, '{"this": "is no event"}', "bad")
    assert home.call("drain").status == 1
    write(home, VIEW, "USER")
    home.config.write_text(home.config.read_text().replace("/422", "/204"))
    for line in lines:
        # `hold` stands above `drain`, which says that something is left behind a held key.
        ran(home, line, 75 * ("drain" in line))
    rows = execute(home, "SELECT id, status FROM shipper_outbox ORDER BY id")
    assert rows == [(4710, "delivered"), (4711, "discarded"), (4712, "pending")]


def sandbox(place: Place, lines: Lines) -> None:
    """Start the sandbox; only the port is another, because tests run at once."""
    for line in lines:
        with place.home().receiving(*shlex.split(line)[2:]):
            pass


def moving(place: Place, lines: Lines) -> None:
    """Hand events over from one outbox to another."""
    export, take = lines
    old, new = furnished(place), furnished(place, "defualt")
    execute(new, "DELETE FROM shipper_outbox")
    ran(old, export)
    shutil.move(old.directory / "rows.jsonl", new.directory)
    ran(new, take)
    there = "SELECT event_id, ordering_key FROM shipper_outbox WHERE status = '{}' ORDER BY id"
    moved = execute(new, there.format("pending"))
    assert len(moved) == 2
    assert moved == execute(old, there.format("discarded"))


RUN: Final[Mapping[tuple[str, str], Callable[[Place, Lines], None]]] = {
    ("operating.md", "Operating"): operating,
    ("operating.md", "Dead letters"): each_alone,
    ("operating.md", "Rerouting and discarding"): each_alone,
    ("operating.md", "A stand-in for the API"): sandbox,
    ("backup.md", "Backup"): each_alone,
    ("backup.md", "Restore"): one_after_the_other,
    ("backup.md", "Moving events to another outbox"): moving,
    ("monitoring.md", "Monitoring"): with_a_daemon,
    ("troubleshooting.md", "Troubleshooting"): each_alone,
}
# As root, on Postgres, or of the first steps: each has a test of its own.
ELSEWHERE: Final[Mapping[tuple[str, str], str]] = {
    ("service.md", "As a systemd service"): "tests/systemd",
    ("service.md", "Several daemons on one machine"): "tests/systemd",
    ("postgres.md", "The role"): "test_commands",
    ("writing.md", "First steps"): "test_commands",
}


def shown() -> dict[tuple[str, str], list[str]]:
    """Return the lines that call `shipper` in each section of the manual."""
    found: dict[tuple[str, str], list[str]] = {}
    for block in blocks():
        lines = [*run_of(f"```{block.language}\n{block.text}```\n")]
        if block.document.parent == MANUAL and lines:
            where = (block.document.name, block.section)
            texts = [line for line in block.text.splitlines() if line.startswith("shipper ")]
            found.setdefault(where, []).extend(texts)
    return found


def test_every_section_with_commands_is_run() -> None:
    """Here or elsewhere; a section that has none any more is in no list."""
    assert shown().keys() == {*RUN, *ELSEWHERE}
    for test in ELSEWHERE.values():
        assert Path(test).exists() or (Path(__file__).parent / f"{test}.py").exists()


@pytest.mark.parametrize("where", RUN, ids=" ".join)
def test_the_examples_do_what_they_say(where: tuple[str, str], place: Place) -> None:
    """Each line ends well and prints something."""
    lines = shown()[where]
    assert lines
    RUN[where](place, lines)


def test_every_chapter_begins_with_its_title() -> None:
    """One heading of the first level, at the top."""
    for path, text in DOCUMENTS.items():
        assert text.startswith("# "), path.name

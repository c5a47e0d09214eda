"""The messages that the chapter on troubleshooting quotes are those that the program prints.

Each is provoked here, or, where that needs a full disk, a standby or a broken file, found in the
source.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

import shipper
from tests.cli.command_line import VIEW, Home
from tests.cli.test_operating_commands import execute, write
from tests.docs.documents import DOCUMENTS, MANUAL
from tests.docs.place import Place, places

# What is said is provoked once for all of them.
pytestmark = pytest.mark.xdist_group("troubleshooting")

TEXT: Final = DOCUMENTS[MANUAL / "troubleshooting.md"]
STATUS, ENDS, DOCTOR = (
    "`shipper status` says",
    "The daemon or a command ends with",
    "`shipper doctor` says",
)
# Other tests provoke these, with several daemons, or a disk, a server or a file that they break.
NOT_HERE: Final = frozenset(
    {
        "hasn't written to the outbox for",
        "the outbox's disk is full:",
        "the newest events wait for an open transaction:",
        "for a synchronous standby",
        "can't read … permission denied",
        "another process holds the write lock of",
        "was moved or replaced while it was open",
        "is damaged",
        "no outbox in this database",
        "this machine's clock is … s … the API's",
        "hasn't prolonged its lease for",
        "no shard, ready to take over",
        "differs from this configuration",
        "have several versions of shipper",
        "their events wait",
    }
)


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield section, message and second column of every row of the chapter's tables."""
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        for message, second in re.findall(r"^\| `(.+?)` \| (.*?) \|", section, re.MULTILINE):
            yield title, message, second


ROWS: Final = sorted(rows())


def pattern(message: str) -> str:
    """Return a regular expression for a message; `…` stands for any text on its line."""
    return ".*".join(map(re.escape, message.split("…")))


def drained(home: Home, *options: str) -> str:
    """Return what `status` says after some tries; without options, until shipper pauses."""
    home.call("drain", *options)
    return home.call("status").out


def of_status(place: Place) -> Iterator[str]:
    """Yield what `status` says in each situation."""
    for answer in ("401", "404", "302"):
        yield drained(place.home(answer, "a"))
    yield drained(place.home("422", *"abcdefgh"))
    soon = ("--timeout", "1s")
    for answer in ("429", "200"):
        yield drained(place.home(answer, "a"), *soon)
    home = place.home()
    yield home.call("status").out
    write(home, VIEW, "a")
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e")
    yield drained(home, *soon)
    home.configure("sqlite:///shop.db", "https://nosuch.invalid/e")
    yield drained(home, *soon)
    home.call("hold", "--key", "a")
    write(home, '{"no": "event"}', "b")
    write(home, VIEW, "c", destination="defualt")
    yield drained(home, *soon)
    home.call("hold", "--destination", "default")
    yield home.call("status").out
    home = place.home()
    windows = '[schedule]\nwindows = ["0 0 29 2 *"]\n'
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", windows)
    yield home.call("status").out


def of_ends(place: Place) -> Iterator[tuple[str, int]]:
    """Yield what commands that fail say, with their exit status."""
    home = place.home("204", "a")
    with home.running("run") as daemon:
        assert daemon.stderr is not None
        assert any(b"daemon.started" in line for line in daemon.stderr)
        ran = home.call("run")
        yield ran.err, ran.status
    execute(home, "UPDATE shipper_alembic_version SET version_num = '9999'")
    (home.directory / "shop.db").rename(home.directory / "older.db")
    ran = home.call("status")
    yield ran.err, ran.status
    (home.directory / "older.db").rename(home.directory / "shop.db")
    ran = home.call("status")
    yield ran.err, ran.status
    home.config.write_text(f"{home.config.read_text()}[log]\nlevle = 1\n")
    ran = home.call("status")
    yield ran.err, ran.status
    home.config.unlink()
    ran = home.call("status")
    yield ran.err, ran.status


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Give everything that was said, by section of the chapter; behind an end, its status."""
    with places(tmp_path_factory.mktemp("trouble")) as place:
        ends = "\n".join(f"{' '.join(text.split())} | {status}" for text, status in of_ends(place))
        return {
            STATUS: "\n".join(of_status(place)),
            ENDS: ends,
            DOCTOR: place.home("204", "a").call("doctor", "--no-network").out,
        }


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Give every text of the source, with `…` where a value goes."""
    found = []
    for file in Path(shipper.__file__).parent.rglob("*.py"):
        source = re.sub(r'"\n\s+f?"', "", file.read_text("utf-8"))
        found += re.findall(r'"((?:[^"\\\n]|\\.)*)"', re.sub(r"\{[^{}]*\}", "…", source))
    return found


@pytest.mark.parametrize(("section", "message", "second"), ROWS)
def test_a_message_is_one_that_the_program_prints(
    section: str, message: str, second: str, said: Mapping[str, str], texts: list[str]
) -> None:
    """A message that changes has to change here, too; else nobody finds it in the chapter."""
    if message in NOT_HERE:
        assert [text for text in texts if re.search(pattern(message), text)], message
        return
    ending = rf".* \| {second}$" if section == ENDS else ""
    assert re.search(pattern(message) + ending, said[section], re.MULTILINE), said[section]


def test_the_chapter_has_a_row_for_each_message_that_is_not_provoked() -> None:
    """None is left over."""
    assert {message for _, message, _ in ROWS} >= NOT_HERE
    assert {section for section, _, _ in ROWS} == {STATUS, ENDS, DOCTOR}

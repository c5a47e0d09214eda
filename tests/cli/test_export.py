"""`shipper events export` and `shipper enqueue --rows`: what they write, print and refuse."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command_line import DEADLINE, VIEW, Home
from tests.cli.test_operating_commands import (
    DEAD_PAYLOAD,
    execute,
    lines,
    statuses,
    write,
)


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an outbox on SQLite with two pending events."""
    home = Home(tmp_path, sqlite_url)
    write(home, VIEW, "a", "b")
    return home


@pytest.fixture
def elsewhere(tmp_path: Path, bare_url: str) -> Home:
    """Give another directory with an empty outbox, once for each database."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    home = Home(directory, bare_url)
    assert home.call("db", "upgrade", "--create").status == 0
    return home


def test_a_line_is_an_event(home: Home) -> None:
    """With the columns that identify it in another outbox."""
    ran = home.call("events", "export", "-", "--key", "b")
    [row] = lines(ran)
    assert ran.err == "1 event exported\n"
    assert list(row) == [
        "id", "event_id", "destination", "ordering_key", "created_at", "status", "payload",
    ]  # fmt: skip
    assert (row["id"], row["destination"], row["ordering_key"]) == (2, "default", "b")
    assert (row["status"], row["payload"]) == ("pending", VIEW)


def test_a_house_moves(home: Home, elsewhere: Home) -> None:
    """From one outbox to another; a second import finds every event known."""
    file = str(home.directory / "till.jsonl")
    ran = home.call("events", "export", file, "--hand-over", "--json")
    assert ran.value == {"exported": 2, "handed_over": 2}
    assert Path(file).stat().st_mode & 0o777 == 0o600
    assert statuses(home) == ["discarded", "discarded"]
    assert elsewhere.call("enqueue", "--rows", file).out == "2 new, 0 in the outbox already\n"
    again = elsewhere.call("enqueue", "--rows", "-", "--json", stdin=Path(file).read_bytes())
    assert again.value == {"new": 0, "known": 2}
    assert [row["ordering_key"] for row in lines(elsewhere.call("events", "export", "-"))] == [
        "a",
        "b",
    ]
    for either in (home, elsewhere):
        assert either.call("verify").status == 0


def test_dead_letters_are_another_file(home: Home) -> None:
    """The other outbox would try them again, so they are exported only on demand."""
    write(home, DEAD_PAYLOAD, "c")
    assert home.call("drain").status == 75
    assert len(lines(home.call("events", "export", "-"))) == 2
    [row] = lines(home.call("events", "export", "-", "--status", "dead"))
    assert row["status"] == "dead"


def test_bytes_that_are_no_utf8_are_carried(home: Home, tmp_path: Path) -> None:
    """As base64; a key with such bytes by escapes."""
    execute(home, "DELETE FROM shipper_outbox")
    execute(
        home,
        "INSERT INTO shipper_outbox (payload, ordering_key)"
        " VALUES (CAST(:payload AS TEXT), CAST(:key AS TEXT))",
        payload=b'{"type":"\xff"}',
        key=b"\xfe",
    )
    assert home.call("events", "export", "out").status == 0
    exported = (home.directory / "out").read_bytes()
    assert json.loads(exported)["payload_base64"] == "eyJ0eXBlIjoi/yJ9"
    execute(home, "DELETE FROM shipper_outbox")
    assert home.call("enqueue", "--rows", "out").status == 0
    bytes_of = "SELECT CAST(payload AS BLOB), CAST(ordering_key AS BLOB) FROM shipper_outbox"
    assert execute(home, bytes_of) == [(b'{"type":"\xff"}', b"\xfe")]


def test_nothing_is_overwritten(home: Home) -> None:
    """Neither a file nor the target of a broken link; no event is marked."""
    (home.directory / "there").write_text("kept")
    (home.directory / "link").symlink_to("nowhere")
    for name in ("there", "link", "no/such/directory/file"):
        ran = home.call("events", "export", name, "--hand-over")
        assert ran.status == 2, ran.err
    assert (home.directory / "there").read_text() == "kept"
    assert statuses(home) == ["pending", "pending"]


def test_what_is_handed_over_needs_a_file(home: Home) -> None:
    """A pipe keeps nothing."""
    ran = home.call("events", "export", "-", "--hand-over")
    assert (ran.status, ran.out) == (2, "")
    assert statuses(home) == ["pending", "pending"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "this line has no event_id"),
        (VIEW, "this line has no event_id"),
        ("[1]", "this line isn't an event"),
        ("no", "this line isn't an event"),
        ('{"event_id":1,"destination":"d","created_at":"t","status":"s"}', "isn't an event"),
    ],
)
def test_a_line_that_is_none_is_told_with_its_number(home: Home, line: str, message: str) -> None:
    """Then nothing is written."""
    good = home.call("events", "export", "-").out
    ran = home.call("enqueue", "--rows", "-", stdin=f"{good}\n{line}\n".encode())
    assert ran.status == 1
    assert ran.err.startswith("stdin:4: ")
    assert message in ran.err
    assert len(statuses(home)) == 2


def test_the_file_alone_says_what_the_events_are(home: Home) -> None:
    """No option changes it."""
    for option in ("--key", "--destination", "--event-id"):
        ran = home.call("enqueue", "--rows", "-", option, "x")
        assert (ran.status, "from the file" in ran.err) == (2, True)


def test_a_file_that_cannot_be_read_is_told(home: Home) -> None:
    """With the reason."""
    ran = home.call("enqueue", "--rows", "nowhere.jsonl")
    assert (ran.status, "can't read nowhere.jsonl: " in ran.err) == (2, True)


def test_a_destination_that_is_unknown_here_is_told(home: Home) -> None:
    """Its events wait; nothing is lost."""
    row = home.call("events", "export", "-", "--key", "a").out
    row = row.replace('"default"', '"other"').replace('"event_id":"', '"event_id":"x')
    ran = home.call("enqueue", "--rows", "-", stdin=row.encode())
    assert ran.status == 0
    assert "no [destinations.other]" in ran.err


def test_a_pipe_that_cannot_be_read_twice_is_kept(home: Home, tmp_path: Path) -> None:
    """For instance the shell's <(...)."""
    home.call("events", "export", "out")
    execute(home, "DELETE FROM shipper_outbox")
    fifo = home.directory / "fifo"
    os.mkfifo(fifo)
    content = (home.directory / "out").read_bytes()
    writer = threading.Thread(target=lambda: fifo.write_bytes(content))
    writer.start()
    assert home.call("enqueue", "--rows", "fifo").status == 0
    writer.join()
    assert statuses(home) == ["pending", "pending"]


def test_a_kill_while_events_are_handed_over_loses_nothing(home: Home, elsewhere: Home) -> None:
    """At any point: with a second export, every event arrives once."""
    write(home, VIEW, *(f"k{number}" for number in range(40)))
    execute(
        home,
        "INSERT INTO shipper_outbox (payload, ordering_key)"
        " SELECT a.payload, a.ordering_key FROM shipper_outbox a, shipper_outbox b",
    )
    everything = len(statuses(home))
    first, second = home.directory / "first", home.directory / "second"
    with home.running("events", "export", str(first), "--hand-over") as process:
        until(first.exists)
        process.kill()
        process.wait(DEADLINE)
    left = statuses(home).count("pending")
    ran = home.call("events", "export", str(second), "--hand-over", "--json")
    assert ran.value == {"exported": left, "handed_over": left}
    assert statuses(home).count("discarded") == everything
    assert elsewhere.call("enqueue", "--rows", str(first), "--json").value["new"] == everything
    assert elsewhere.call("enqueue", "--rows", str(second), "--json").value["new"] == 0
    assert home.call("verify").status == 0


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fails after the deadline."""
    ends = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < ends, "it never came"
        threading.Event().wait(0.001)

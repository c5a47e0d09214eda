"""`shipper enqueue` of a file that is too large for one transaction."""

import json
from pathlib import Path

import pytest

from shipper.cli.commands import enqueue as command
from shipper.cli.input.documents import streamed
from shipper.clock import SystemClock
from shipper.errors import StoreUnavailable
from shipper.store.db.engine import open_engine
from shipper.store.operate.enqueue import AT_ONCE
from shipper.store.operate.enqueue import enqueue_many as write
from tests.cli.command_line import Home, Ran, next_line
from tests.store.shipping import ask

MANY = 6000


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration, and a file of many events."""
    home = Home(tmp_path, sqlite_url)
    with (home.directory / "many.jsonl").open("w") as file:
        file.writelines(json.dumps({"type": "view", "view": {"n": n}}) + "\n" for n in range(MANY))
    return home


def _written(home: Home, url: str) -> list[tuple[str, int]]:
    engine = open_engine(url)
    rows = ask(engine, "SELECT event_id, payload FROM shipper_outbox ORDER BY id")
    engine.dispose()
    return [(event_id, json.loads(payload)["view"]["n"]) for event_id, payload in rows]


def _keep(home: Home, lines: int) -> None:
    """Leave only so many events in the file."""
    file = home.directory / "many.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:lines]))


def _cut_off(home: Home, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Import the file, and fail after the first batch."""

    def cut(*arguments: object) -> object:
        yield next(write(*arguments))  # type: ignore[arg-type]
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(command, "write_many", cut)
        return home.call("enqueue", "many.jsonl")


def test_who_is_killed_in_the_middle_does_it_again(home: Home, sqlite_url: str) -> None:
    """Every printed id is written; after a repeat each event is there once, in the file's order."""
    with home.running("enqueue", "many.jsonl") as process:
        assert process.stdout is not None
        first = next_line(process.stdout.fileno()).decode().strip()
        process.kill()
        process.wait()
    before = _written(home, sqlite_url)
    assert AT_ONCE <= len(before) < MANY
    assert before[0] == (first, 0)
    ran = home.run("enqueue", "many.jsonl")
    assert ran.status == 0
    assert "was interrupted; this command continues it" in ran.err
    assert f"{len(before):,} of {MANY:,} in the outbox already" in ran.err
    after = _written(home, sqlite_url)
    assert [n for _, n in after] == list(range(MANY))
    assert [event_id for event_id, _ in after] == ran.out.split()


def test_a_reader_that_goes_away_does_not_end_the_writing(home: Home, sqlite_url: str) -> None:
    """As with `shipper enqueue many.jsonl | head -1`: all events are written."""
    with home.running("enqueue", "many.jsonl") as process:
        assert process.stdout is not None
        next_line(process.stdout.fileno())
        process.stdout.close()
        process.wait(60)
    assert len(_written(home, sqlite_url)) == MANY


def test_what_comes_between_is_told_with_how_far_it_came(
    home: Home, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the number of written events, and the advice to repeat the command."""
    ran = _cut_off(home, monkeypatch)
    assert ran.status == 69
    assert f"{AT_ONCE:,} of {MANY:,} events are written; repeat the command" in ran.err
    assert home.call("enqueue", "many.jsonl").status == 0
    assert len(_written(home, sqlite_url)) == MANY


@pytest.mark.parametrize(
    ("option", "hours", "status", "times"),
    [(None, 11, 0, 1), (None, 13, 2, 0), (None, 24 * 31, 0, 2), ("--resume", 13, 0, 1),
     ("--anew", 13, 0, 2), ("--anew", 0, 0, 2), ("--resume", 24 * 31, 2, 0)],
)  # fmt: skip
def test_the_same_events_on_another_day_may_be_meant_anew(
    home: Home, sqlite_url: str, monkeypatch: pytest.MonkeyPatch,
    option: str | None, hours: int, status: int, times: int,
) -> None:  # fmt: skip
    """After a killed nightly job, the events of the next night must not be left out."""
    few = 2 * AT_ONCE
    _keep(home, few)
    _cut_off(home, monkeypatch)
    then = SystemClock().wall() + hours * 3600.0
    monkeypatch.setattr(SystemClock, "wall", lambda _: then)
    ran = home.call("enqueue", "many.jsonl", *([option] if option else []))
    assert ran.status == status, ran.err
    first = [n for _, n in _written(home, sqlite_url)].count(0)
    assert (first, len(_written(home, sqlite_url))) == {
        0: (1, AT_ONCE), 1: (1, few), 2: (2, few + AT_ONCE),
    }[times]  # fmt: skip
    if option is None and status:
        assert "it began 13 hours ago" in ran.err
        assert "--anew writes all of them again" in ran.err
        assert home.call("enqueue", "many.jsonl", "--resume").status == 0


def test_how_many_were_there_is_in_the_json(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One object per event; `new` is false for known ones."""
    _keep(home, 2 * AT_ONCE)
    _cut_off(home, monkeypatch)
    ran = home.call("enqueue", "many.jsonl", "--json")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["new"] for event in found] == [n >= AT_ONCE for n in range(2 * AT_ONCE)]


def test_an_invalid_line_at_the_end_keeps_all_out(home: Home, sqlite_url: str) -> None:
    """Every line is checked before the first is written."""
    with (home.directory / "many.jsonl").open("a") as file:
        file.write('{"type":"view"}\n')
    ran = home.call("enqueue", "many.jsonl")
    assert (ran.status, ran.out) == (1, "")
    assert f":{MANY + 1}: event" in ran.err
    assert _written(home, sqlite_url) == []


def test_a_file_is_read_a_line_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too long for one event has one event per line, with any line end."""
    monkeypatch.setattr("shipper.cli.input.documents._ONE_EVENT", 20)
    file = tmp_path / "lines"
    file.write_bytes(b'{"a":1}\r\n\n{"b":2}\n  \n{"c":3}')
    with file.open("rb") as given:
        found = [(d.line, d.payload) for d in streamed(given)]
        assert found == [(1, b'{"a":1}'), (3, b'{"b":2}'), (5, b'{"c":3}')]
        assert [(d.line, d.payload) for d in streamed(given)] == found

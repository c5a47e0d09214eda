"""`status`, `top` and `drain` beside several daemons: who they are, and what each of them has."""

import json
import re
import signal
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import Engine

from shipper import __version__
from shipper.cli.commands.top import Picture
from shipper.cli.output.context import Context
from shipper.clock import SystemClock
from shipper.store.db.engine import database_path, open_engine
from shipper.store.lease.file_lock import FileLock
from tests.cli.command_line import VIEW, Home
from tests.cli.test_operating_commands import ISO, write
from tests.store.daemons import tamper
from tests.store.joined import ELSEWHERE, HERE, joined
from tests.store.shipping import ask, until

LATE = "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '60 s' WHERE token = 2"
# The last but one is older than the interface of several daemons: scripts use it.
FIELDS = {
    *("name", "host", "pid", "version", "shards", "in_flight", "since", "last_seen_seconds"),
    *("unable_to_write_seconds", "missing"),
}


@pytest.fixture
def home(tmp_path: Path, postgres_url: str) -> Home:
    """Give a directory with a configuration and an outbox on PostgreSQL."""
    return Home(tmp_path, postgres_url)


@pytest.fixture
def two(home: Home, postgres_url: str) -> Iterator[Engine]:
    """Give that outbox with two daemons: `shop` here has 40 shards, `till-2` has the others."""
    engine = open_engine(postgres_url)
    joined(engine, 1, "shop", HERE, None)
    joined(engine, 2, "till-2", ELSEWHERE, None)
    tamper(engine, "UPDATE shipper_shard SET token = CASE WHEN shard < 40 THEN 1 ELSE 2 END")
    write(home, VIEW, "a", "b")
    [row] = ask(engine, "SELECT min(id) FROM shipper_outbox")
    claim = "INSERT INTO shipper_claim (token, number, ids) VALUES (2, 1, :ids)"
    tamper(engine, claim, ids=json.dumps([row[0]]))
    yield engine
    engine.dispose()


def test_each_daemon_is_told_with_exactly_the_fields_of_the_interface(
    home: Home, two: Engine
) -> None:
    """For scripts; the first of those that ship is the one of the fields above."""
    told = home.call("status", "--json").value
    first, second = told["daemons"]
    assert set(first) == set(second) == FIELDS
    assert ISO.fullmatch(second.pop("since"))
    assert 0 <= second.pop("last_seen_seconds") < 60
    assert second == {
        "name": "till-2",
        "host": "till-2",
        "pid": 77,
        "version": __version__,
        "shards": 24,
        "in_flight": 1,
        "missing": False,
        "unable_to_write_seconds": None,
    }
    assert (first["name"], first["pid"], first["shards"]) == ("shop", HERE.pid, 40)
    assert (told["running"], told["pid"]) == (True, HERE.pid)
    assert ask(two, "SELECT count(*) FROM shipper_daemon") == [(2,)]


def test_a_person_reads_a_line_for_each(home: Home, two: Engine) -> None:
    """With its version and what it has; a missing one is seen at once."""
    tamper(two, LATE)
    ran = home.call("status")
    told = ran.out + ran.err
    assert f"shop (process {HERE.pid} on {HERE.host}) ships" in told
    assert f"{HERE.host}): shipper {__version__}, 40 shards, 0 claimed\n" in told
    missing = r"process 77 on till-2: shipper \S+, 24 shards, 1 claimed, missing: last seen"
    assert re.search(rf"{missing} 9\d s ago\n", told)
    assert "the others take over its shards within 35 s" in told


def test_one_without_a_shard_waits_and_says_so(home: Home, two: Engine) -> None:
    """It isn't idle by mistake: it is there to take over."""
    joined(two, 3, "spare", ELSEWHERE, None)
    told = home.call("status").err
    assert "3 daemons on shop, till-2, spare ship" in told
    assert "no shard, ready to take over, 0 claimed" in told


@pytest.mark.parametrize("height", [24, 60])
def test_top_has_a_line_for_each(home: Home, two: Engine, height: int) -> None:
    """On a small terminal too, as far as there is room beside the destination."""
    drawn = Picture(Context(home.config, environ={}), SystemClock()).draw(160, height)
    console = Console(width=160, file=StringIO())
    console.print(drawn)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "2 daemons on shop, till-2 ship" in lines[0]
    assert [line.rpartition(": ")[2] for line in lines if line.startswith("  process 77")] == [
        f"shipper {__version__}, 24 shards, 1 claimed"
    ]
    assert len(lines) <= height
    assert ask(two, "SELECT count(*) FROM shipper_daemon") == [(2,)]


def test_a_drain_watches_all_of_them(home: Home) -> None:
    """It ends when the last event is sent, whichever daemon has it; it takes nothing itself."""
    with home.receiving(), home.running("run") as one, home.running("run") as two:
        for daemon in (one, two):
            assert daemon.stderr is not None
            next(line for line in daemon.stderr if b"daemon.started" in line)
        until(lambda: _shards(home) == [32, 32])
        write(home, VIEW, *(f"user-{number}" for number in range(20)))
        ran = home.run("drain")
        assert ran.status == 0, ran.err
        assert re.search(r"2 daemons on \S+ ship this outbox; watching them\n", ran.err)
        assert home.call("status", "--json").value["destinations"]["default"]["delivered"] == 20
        for daemon in (one, two):
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
    assert home.call("status", "--json").value["daemons"] == []


def _shards(home: Home) -> list[int]:
    return [one["shards"] for one in home.call("status", "--json").value["daemons"]]


def test_a_file_has_one_daemon_at_most(tmp_path: Path, sqlite_url: str) -> None:
    """With one shard, the whole outbox; and nothing of several is told."""
    home = Home(tmp_path, sqlite_url)
    assert home.call("status", "--json").value["daemons"] == []
    write(home, VIEW, "a")
    path = database_path(sqlite_url)
    assert path is not None
    lock = FileLock(path)
    engine = open_engine(sqlite_url)
    tamper(engine, "UPDATE shipper_lease SET owner = :owner", owner=HERE.write())
    engine.dispose()
    lock.acquire()
    try:
        [only] = home.call("status", "--json").value["daemons"]
        assert set(only) == FIELDS
        assert (only["pid"], only["shards"], only["in_flight"]) == (HERE.pid, 1, 0)
        told = home.call("status").err
        assert f"process {HERE.pid} on {HERE.host} ships" in told
        assert "shard" not in told
    finally:
        lock.release()

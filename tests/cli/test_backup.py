"""`shipper backup` and `shipper events discard`: their answers, and what they refuse."""

from pathlib import Path

import pytest

from tests.cli.command_line import VIEW, Home
from tests.cli.test_operating_commands import default, execute, kill, statuses, write


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration and an outbox on SQLite with three pending events."""
    home = Home(tmp_path, sqlite_url)
    write(home, VIEW, "a", "b", "c")
    return home


@pytest.fixture
def either_home(tmp_path: Path, database_url: str) -> Home:
    """Give an outbox with three pending events and a dead one, once for each database."""
    home = Home(tmp_path, database_url)
    kill(home, "dead")
    write(home, VIEW, "a", "b", "c")
    return home


def test_a_backup_says_what_it_is(home: Home) -> None:
    """The answer has the size of the copy, and what a restore would send."""
    ran = home.call("backup", "copy.db")
    assert ran.status == 0
    assert "copy of the whole database, with the application's tables" in ran.out
    assert "a restore would send again: 3 pending for default" in ran.out
    assert (home.directory / "copy.db").stat().st_size > 0


def test_a_backup_as_json(home: Home) -> None:
    """With the path of the copy."""
    told = home.call("backup", "copy.db", "--json").value
    path = home.directory / "copy.db"
    assert told == {
        "file": str(path),
        "bytes": path.stat().st_size,
        "pending": {"default": 3},
        "maybe_received": 0,
    }


def test_a_backup_overwrites_nothing(home: Home) -> None:
    """Exit status 2, and the existing file is unchanged."""
    (home.directory / "copy.db").write_text("precious")
    ran = home.call("backup", "copy.db", "--json")
    assert ran.status == 2
    assert "is there already" in ran.error["error"]
    assert (home.directory / "copy.db").read_text() == "precious"


def test_postgres_is_told_its_own_command(tmp_path: Path, postgres_url: str) -> None:
    """Exit status 2, because nothing was copied."""
    ran = Home(tmp_path, postgres_url).call("backup", "copy.dump", "--json")
    assert ran.status == 2
    assert ran.error["hint"].startswith("pg_dump --format=custom --file=copy.dump ")
    assert "postgresql://" in ran.error["hint"]
    assert not (tmp_path / "copy.dump").exists()


# -- events discard -------------------------------------------------------------------------------


def test_pending_events_are_given_up_by_name(either_home: Home) -> None:
    """Either all named events are changed, or none."""
    refused = either_home.call("events", "discard", "1", "2", "--yes")
    assert refused.status == 1
    assert "not among the pending events: 1" in refused.err
    ran = either_home.call("events", "discard", "2", "3", "--yes")
    assert (ran.status, ran.out) == (0, "2 events discarded\n")
    assert statuses(either_home) == ["dead", "discarded", "discarded", "pending"]
    assert default(either_home)["discarded"] == 2
    assert either_home.call("verify").status == 0


def test_all_that_fit_are_given_up(either_home: Home) -> None:
    """Dead letters and later events stay."""
    cutoff = "'2026-01-01T00:00:00.000Z'"
    execute(either_home, f"UPDATE shipper_outbox SET created_at = {cutoff} WHERE id < 4")
    discard = ("events", "discard", "ALL", "--until", "2026-01-01T00:00", "--json", "--yes")
    assert either_home.call(*discard).value == {"discarded": 2}
    assert statuses(either_home) == ["dead", "discarded", "discarded", "pending"]
    again = either_home.call(*discard)
    assert (again.status, again.value) == (1, {"discarded": 0})
    assert again.error["error"] == "no pending event matches (--until)"
    assert either_home.call("verify").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no event is named"),
        (("2", "--key", "a"), "filters need ALL"),
        (("ALL", "2"), "ALL can't be combined"),
        (("ALL",), "no terminal to confirm on"),
        (("ALL", "--until", "soon"), "neither a duration"),
    ],
)
def test_nothing_is_given_up_by_accident(
    either_home: Home, words: tuple[str, ...], said: str
) -> None:
    """The events have to be named, and the operator has to confirm."""
    ran = either_home.call("events", "discard", *words)
    assert ran.status == 2
    assert said in ran.err
    assert statuses(either_home) == ["dead", "pending", "pending", "pending"]


def test_a_destination_and_a_key_choose(either_home: Home) -> None:
    """Each alone, or both."""
    write(either_home, VIEW, "a", destination="other")
    chosen = ("events", "discard", "ALL", "--destination", "other", "--key", "a", "--yes")
    assert either_home.call(*chosen).status == 0
    assert statuses(either_home) == ["dead", "pending", "pending", "pending", "discarded"]


def test_pending_events_are_tried_now_by_name_or_all_that_fit(either_home: Home) -> None:
    """Only their wait ends; dead letters stay as they are."""
    execute(
        either_home,
        "UPDATE shipper_outbox SET attempts = 3, next_attempt_at = '2099-01-01T00:00:00.000Z'"
        " WHERE status = 'pending'",
    )
    ran = either_home.call("events", "retry", "2")
    assert (ran.status, ran.out) == (0, "1 event to be tried as soon as possible\n")
    shown = either_home.call("events", "show", "2", "--json").value
    assert (shown["next_attempt_at"], shown["attempts"], shown["status"]) == (None, 3, "pending")
    refused = either_home.call("events", "retry", "1")
    assert refused.status == 1
    assert "not among the pending events: 1" in refused.err
    told = either_home.call("events", "retry", "ALL", "--json", "--yes").value
    assert told["retried"] == 3
    assert either_home.call("events", "retry", "ALL", "--key", "none", "--yes").status == 1
    assert either_home.call("verify").status == 0

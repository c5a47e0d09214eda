"""`shipper prune`: what it prints, deletes and keeps."""

from pathlib import Path

import pytest

from tests.cli.command_line import VIEW, Home
from tests.cli.test_operating_commands import default, execute, kill, statuses, write

LONG_AGO = "'2001-01-01T00:00:00.000Z'"


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Home:
    """Give an outbox with two events delivered long ago, one today, one dead, one pending.

    Those of long ago were written long ago, too.
    """
    home = Home(tmp_path, database_url)
    write(home, VIEW, "a", "b", "c")
    with home.receiving():
        assert home.call("drain").status == 0
    execute(home, f"UPDATE shipper_outbox SET delivered_at = {LONG_AGO} WHERE id <= 2")
    kill(home, "d")
    execute(home, f"UPDATE shipper_attempt SET started_at = {LONG_AGO}")
    execute(home, f"UPDATE shipper_outbox SET created_at = {LONG_AGO} WHERE id <> 3")
    write(home, VIEW, "e")
    return home


def keep(home: Home, **settings: str) -> None:
    """Write a [retention] into the configuration."""
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    home.config.write_text("\n".join([home.config.read_text(), "[retention]", *lines, ""]))


def test_a_dry_run_says_what_would_go_and_deletes_nothing(home: Home) -> None:
    """By destination and status."""
    ran = home.call("prune", "--dry-run")
    assert ran.status == 0
    assert ran.out.splitlines() == ["destination\tstatus\tevents", "default\tdelivered\t2"]
    assert "2 events would be deleted" in ran.err
    assert len(statuses(home)) == 5


def test_what_is_over_is_deleted_and_counted(home: Home) -> None:
    """The counters add up; a second run deletes nothing."""
    ran = home.call("prune", "--json")
    assert ran.value == {"dry_run": False, "total": 2, "events": {"default": {"delivered": 2}}}
    assert statuses(home) == ["delivered", "dead", "pending"]
    told = default(home)
    assert (told["delivered"], told["dead"], told["purged"]) == (1, 1, 2)
    assert home.call("verify").status == 0
    assert home.call("prune", "--json").value == {"dry_run": False, "total": 0, "events": {}}


def test_a_clock_that_the_outbox_contradicts_is_told(home: Home) -> None:
    """The command goes on after the warning."""
    assert "warning" not in home.call("prune", "--dry-run").err
    execute(home, f"UPDATE shipper_outbox SET created_at = {LONG_AGO}, delivered_at = {LONG_AGO}")
    ran = home.call("prune", "--dry-run")
    assert "warning: the newest time in the outbox is 2001-01-01T00:00:00.000Z, but" in ran.err
    execute(home, "UPDATE shipper_outbox SET created_at = '2999-01-01T00:00:00.000Z'")
    assert "outbox is 2999-01-01T00:00:00.000Z, but this machine has" in home.call("prune").err


def test_dead_letters_go_where_that_is_wanted(home: Home) -> None:
    """Not by default."""
    keep(home, delivered="never", dead="30d")
    assert home.call("prune", "--json", "--dry-run").value["events"] == {"default": {"dead": 1}}
    assert home.call("prune").status == 0
    assert statuses(home) == ["delivered", "delivered", "delivered", "pending"]
    assert home.call("verify").status == 0


def test_nothing_to_do_is_said(home: Home) -> None:
    """On stderr; the answer is empty."""
    keep(home, delivered="never")
    ran = home.call("prune")
    assert (ran.status, ran.out, ran.err) == (0, "", "0 events deleted\n")

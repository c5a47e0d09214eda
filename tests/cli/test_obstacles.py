"""A command without an effect yet says why, and which command ends the obstacle."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shipper.store.lease.file_lock import FileLock
from shipper.store.report.silence import Noted, note
from tests.cli.command_line import VIEW, Home
from tests.cli.test_operating_commands import execute, write

PROBES = "shipper release --destination default probes it now"


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Home:
    """Give a directory with a configuration, and an event in its outbox."""
    home = Home(tmp_path, sqlite_url)
    write(home, VIEW, "a")
    return home


@pytest.fixture
def shipped(home: Home) -> Iterator[None]:
    """Hold the outbox as a daemon does."""
    lock = FileLock(home.directory / "shop.db")
    lock.acquire()
    yield
    lock.release()


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("state", ["offline", "throttled", "paused"])
def test_an_event_behind_a_link_that_is_down_is_not_tried_now(home: Home, state: str) -> None:
    """A retry doesn't probe a link that is down; a release does, and then no obstacle is left."""
    assert home.call("events", "retry", "1").out == "1 event to be tried now\n"
    execute(
        home,
        "INSERT INTO shipper_destination (name, state, reason)"
        f" VALUES ('default', '{state}', 'no answer')",
    )
    told = home.call("events", "retry", "1", "--json").value
    obstacle = f"default is {state}: no answer; {PROBES}"
    assert told == {"retried": 1, "obstacles": [obstacle]}
    ran = home.call("events", "retry", "1")
    assert ran.out == "1 event to be tried as soon as possible\n"
    assert ran.err.split() == f"not yet: {obstacle}".split()
    assert home.call("release", "--destination", "default").err == ""


@pytest.mark.usefixtures("shipped")
def test_what_is_held_is_in_the_way(home: Home) -> None:
    """For an event its held key; for a released key its held destination."""
    home.call("hold", "--key", "a")
    told = home.call("events", "retry", "1", "--json").value["obstacles"]
    assert told == ["key a is held; shipper release --key a --destination default"]
    home.call("hold", "--destination", "default")
    told = home.call("release", "--key", "a").err
    assert (
        told == "not yet: default is held by an operator; shipper release --destination default\n"
    )


@pytest.mark.usefixtures("shipped")
def test_a_closed_window_is_in_the_way(home: Home) -> None:
    """No command opens it."""
    never = '[schedule]\nwindows = ["0 0 30 2 *"]\n'
    home.configure("sqlite:///shop.db", "http://127.0.0.1:9/e", never)
    told = home.call("release", "--destination", "default").err
    assert told == "not yet: no delivery window is open (UTC) for ever\n"


def test_without_a_shipper_nothing_goes(home: Home) -> None:
    """After any release."""
    told = home.call("release", "--destination", "default").err
    assert told == "not yet: no daemon is running\n"


@pytest.mark.usefixtures("shipped")
def test_with_a_shipper_that_stands_still_nothing_goes(home: Home) -> None:
    """The daemon holds its lock, but reacts to no command."""
    note(home.directory / "shop.db", Noted(-1000.0))
    told = home.call("release", "--destination", "default").err
    assert told.startswith("not yet: the daemon hasn't written to the outbox for ")

"""Giving up what is pending: only while nobody ships, nothing else, and the books balance."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from shipper.errors import OutboxHeld
from shipper.store import giving_up
from shipper.store.audit import verify
from shipper.store.batches import Turns
from shipper.store.engine import database_path
from shipper.store.file_lock import FileLock
from shipper.store.giving_up import Found, find_pending, give_up
from shipper.store.lease import Owner
from shipper.store.selection import Selection
from tests.store.daemons import Daemon, write
from tests.store.shipping import ask, run, table, taken

EVERYTHING = Selection()


@pytest.fixture
def path(database_url: str) -> Path | None:
    """Give the file, where the outbox is in one."""
    return database_path(database_url)


def _statuses(engine: Engine) -> list[str]:
    return [row["status"] for row in table(engine, "outbox")]


def test_what_fits_is_given_up_and_nothing_else(engine: Engine, path: Path | None) -> None:
    """Delivered and dead ones stay what they are."""
    ids = write(engine, "a", "b", "c", "a")
    daemon = Daemon(engine)
    daemon.deliver(ids[0])
    daemon.bury(ids[1])
    daemon.queue.release()
    assert find_pending(engine, Selection(key="a")) == Found(1, (ids[3],))
    assert give_up(engine, Selection(key="a"), path) == 1
    assert _statuses(engine) == ["delivered", "dead", "pending", "discarded"]
    assert give_up(engine, EVERYTHING, path) == 1
    assert give_up(engine, EVERYTHING, path) == 0
    assert verify(engine) == []


def test_times_choose(engine: Engine, path: Path | None) -> None:
    """By when an event was written: how a restored copy is told what has arrived."""
    early, late = write(engine, "a", "a")
    times = {early: "2026-01-01T08:00:00.000Z", late: "2026-01-01T10:00:00.000Z"}
    for row, moment in times.items():
        run(engine, f"UPDATE shipper_outbox SET created_at = '{moment}' WHERE id = {row}")
    nine = 1_767_258_000.0
    assert give_up(engine, Selection(until=nine), path) == 1
    assert _statuses(engine) == ["discarded", "pending"]
    assert give_up(engine, Selection(since=nine), path) == 1
    assert verify(engine) == []


def test_every_destination_is_counted(engine: Engine, path: Path | None) -> None:
    """Also one that no daemon has ever seen."""
    write(engine, "a", "b")
    write(engine, "a", destination="other")
    assert give_up(engine, EVERYTHING, path) == 3
    counts = ask(engine, "SELECT name, discarded FROM shipper_destination ORDER BY name")
    assert counts == [("default", 2), ("other", 1)]
    assert verify(engine) == []


def test_many_take_many_transactions(
    engine: Engine, path: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no application waits for long."""
    monkeypatch.setattr(giving_up, "Turns", lambda: Turns(2))
    write(engine, *"abcde")
    assert give_up(engine, EVERYTHING, path) == 5
    assert verify(engine) == []


def test_the_claims_of_a_daemon_that_died_are_over(engine: Engine, path: Path | None) -> None:
    """What is left of them is marked as maybe received."""
    ids = write(engine, "a", "b")
    Daemon(engine).claim(*ids)
    run(engine, "UPDATE shipper_lease SET owner = NULL, expires_at = NULL")
    assert give_up(engine, Selection(key="a"), path) == 1
    assert ask(engine, "SELECT * FROM shipper_claim") == []
    assert [row["maybe_received"] for row in table(engine, "outbox")] == [1, 1]
    assert verify(engine) == []


def test_nothing_is_given_up_while_a_daemon_ships(
    database_url: str, engine: Engine, path: Path | None
) -> None:
    """It might be on its way at this moment."""
    write(engine, "a")
    if path is None:
        queue = taken(engine)
        somebody = Owner("elsewhere", "boot", "ns", 7, "then").write()
        run(engine, "UPDATE shipper_lease SET owner = :owner", owner=somebody)
        with pytest.raises(OutboxHeld, match="process 7 on elsewhere"):
            give_up(engine, EVERYTHING, path)
        assert queue is not None
    else:
        lock = FileLock(path)
        lock.acquire()
        with pytest.raises(OutboxHeld, match="another shipper"):
            give_up(engine, EVERYTHING, path)
        lock.release()
    assert _statuses(engine) == ["pending"]


def test_the_outbox_is_free_again(engine: Engine, path: Path | None) -> None:
    """A daemon can start at once."""
    write(engine, "a", "b")
    give_up(engine, Selection(key="a"), path)
    Daemon(engine).deliver(2)
    assert _statuses(engine) == ["discarded", "delivered"]
    assert verify(engine) == []

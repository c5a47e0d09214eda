"""Giving up what is pending: not what is on its way, nothing else, and the books balance."""

import pytest
from sqlalchemy import Engine

from shipper.store.db.batches import Batches
from shipper.store.db.selection import Selection
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Work
from shipper.store.operate import recall
from shipper.store.operate.discard import discard_pending
from shipper.store.operate.preview import Found, find_pending
from shipper.store.operate.recall import Step
from shipper.store.report.verify import verify
from tests.store.daemons import NOW, Daemon, write
from tests.store.shipping import ask, run, table

EVERYTHING = Selection()


def gone(engine: Engine, selection: Selection) -> int:
    """Give up what fits, and return how many; nobody has claimed any of it."""
    steps = list(discard_pending(engine, selection))
    assert all(not step.claimed for step in steps)
    return sum(step.moved for step in steps)


def _statuses(engine: Engine) -> list[str]:
    return [row["status"] for row in table(engine, "outbox")]


def test_what_fits_is_given_up_and_nothing_else(engine: Engine) -> None:
    """Delivered and dead ones stay what they are."""
    ids = write(engine, "a", "b", "c", "a")
    daemon = Daemon(engine)
    daemon.deliver(ids[0])
    daemon.bury(ids[1])
    daemon.queue.release()
    assert find_pending(engine, Selection(key="a")) == Found(1, (ids[3],))
    assert gone(engine, Selection(key="a")) == 1
    assert _statuses(engine) == ["delivered", "dead", "pending", "discarded"]
    assert gone(engine, EVERYTHING) == 1
    assert gone(engine, EVERYTHING) == 0
    assert verify(engine) == []


def test_times_choose(engine: Engine) -> None:
    """By when an event was written: how a restored copy is told what has arrived."""
    early, late = write(engine, "a", "a")
    times = {early: "2026-01-01T08:00:00.000Z", late: "2026-01-01T10:00:00.000Z"}
    for row, moment in times.items():
        run(engine, f"UPDATE shipper_outbox SET created_at = '{moment}' WHERE id = {row}")
    nine = 1_767_258_000.0
    assert gone(engine, Selection(until=nine)) == 1
    assert _statuses(engine) == ["discarded", "pending"]
    assert gone(engine, Selection(since=nine)) == 1
    assert verify(engine) == []


def test_every_destination_is_counted(engine: Engine) -> None:
    """Also one that no daemon has ever seen."""
    write(engine, "a", "b")
    write(engine, "a", destination="other")
    assert gone(engine, EVERYTHING) == 3
    counts = ask(engine, "SELECT name, discarded FROM shipper_destination ORDER BY name")
    assert counts == [("default", 2), ("other", 1)]
    assert verify(engine) == []


def test_many_take_many_transactions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no application waits for long."""
    monkeypatch.setattr(recall, "Batches", lambda: Batches(2))
    write(engine, *"abcde")
    assert gone(engine, EVERYTHING) == 5
    assert verify(engine) == []


def test_what_is_claimed_stays_and_the_daemon_is_asked_for_it(engine: Engine) -> None:
    """It may be on its way at this moment; what follows it of its key isn't."""
    first, second = write(engine, "a", "a")
    daemon = Daemon(engine)
    daemon.claim(first)
    steps = discard_pending(engine, EVERYTHING)
    assert next(steps) == Step(claimed=1)
    assert Looks(engine).holds({}).recalls["default"] == 1
    assert _statuses(engine) == ["pending", "pending"]
    daemon.queue.turn(Work(now=NOW, released=[first]))
    assert list(steps) == [Step(moved=2)]
    assert _statuses(engine) == ["discarded", "discarded"]
    assert second > first
    assert verify(engine) == []


def test_what_is_delivered_while_it_is_waited_for_is_not_given_up(engine: Engine) -> None:
    """It has come to its end."""
    first, second = write(engine, "a", "b")
    daemon = Daemon(engine)
    daemon.claim(first)
    steps = discard_pending(engine, EVERYTHING)
    next(steps)
    daemon.deliver(first)
    assert list(steps) == [Step(moved=1)]
    assert _statuses(engine) == ["delivered", "discarded"]
    assert second > first


def test_the_outbox_is_free_again(engine: Engine) -> None:
    """A daemon can start at once."""
    write(engine, "a", "b")
    gone(engine, Selection(key="a"))
    Daemon(engine).deliver(2)
    assert _statuses(engine) == ["discarded", "delivered"]
    assert verify(engine) == []

"""After an answer that never came: nothing is lost and nothing is done twice.

Promises 1, 3 and 5 in the guarantees. The points of failure are enumerated, not sampled, as in
SQLite's own tests.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.errors import LeaseLost, StoreUnavailable
from shipper.policy.event import Event
from shipper.store.db.engine import open_engine
from shipper.store.drain.messages import Work
from shipper.store.drain.queue import Queue
from tests.store.daemons import NOW, write
from tests.store.drivers import Driver, story
from tests.store.shipping import accepted, ask, claim, claims, everything, run, taken


@pytest.fixture
def other(database_url: str) -> Iterator[Engine]:
    """Give a second connection to the same outbox."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def driver(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Give the driver, to lose calls of."""
    return Driver(engine, monkeypatch)


def _told(engine: Engine) -> tuple[list[Event], dict[str, list[dict[str, Any]]]]:
    queue, work = story(engine)
    return _turn(queue, work), everything(engine)


def _turn(queue: Queue, work: Work) -> list[Event]:
    """Do a turn; each story is written anew, so when its events were is not a part of it."""
    return [event._replace(created_at=0.0) for event in queue.turn(work)]


def _points(engine: Engine, driver: Driver) -> int:
    queue, work = story(engine)
    with driver.losing(0):
        queue.turn(work)
    return driver.calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_turn_that_was_lost_anywhere_can_be_given_again(
    engine: Engine, driver: Driver, *, after: bool
) -> None:
    """Whichever call of the driver fails, the turn is then done once, as if none had.

    Among the calls that fail *after* they were done is the COMMIT.
    """
    expected = _told(engine)
    points = _points(engine, driver)
    assert points > 8
    for at in range(1, points + 1):
        queue, work = story(engine)
        with driver.losing(at, after=after), pytest.raises(StoreUnavailable):
            queue.turn(work)
        assert (_turn(queue, work), everything(engine)) == expected, f"call {at}"


def test_the_answer_can_be_lost_again_and_again(engine: Engine, driver: Driver) -> None:
    """A turn that was done is not done a second time at the third attempt either."""
    expected = _told(engine)
    points = _points(engine, driver)
    queue, work = story(engine)
    with driver.losing(points, after=True), pytest.raises(StoreUnavailable):
        queue.turn(work)
    for at in (1, 2):
        with driver.losing(at), pytest.raises(StoreUnavailable):
            queue.turn(work)
    assert (_turn(queue, work), everything(engine)) == expected


def test_after_a_lost_answer_the_work_goes_on(engine: Engine, driver: Driver) -> None:
    """What the queue remembers is what is on disk: nothing is left claimed in the end."""
    points = _points(engine, driver)
    queue, work = story(engine)
    with driver.losing(points, after=True), pytest.raises(StoreUnavailable):
        queue.turn(work)
    events = queue.turn(work)
    rest = [*events, *claim(queue, 3, 5, 8)]
    queue.turn(Work(now=NOW, records=[accepted(event) for event in rest], released=[4]))
    assert claims(engine) == []
    numbers = ask(engine, "SELECT delivery_number FROM shipper_outbox WHERE id <> 4 ORDER BY 1")
    if engine.dialect.name == "sqlite":
        assert numbers == [(number,) for number in range(1, 8)]
    assert len(set(numbers)) == 7


def test_a_lease_that_was_prolonged_between_hides_no_lost_turn(
    engine: Engine, driver: Driver
) -> None:
    """Whether the turn or the renewal was lost, the turn is done once."""
    expected = _told(engine)
    queue, work = story(engine)
    with driver.losing(1), pytest.raises(StoreUnavailable):
        queue.turn(work)
    with driver.losing(0):
        queue.renew()
    with driver.losing(driver.calls, after=True), pytest.raises(StoreUnavailable):
        queue.renew()
    assert (_turn(queue, work), everything(engine)) == expected


def test_only_what_the_claim_holds_comes_back_with_a_lost_answer(
    engine: Engine, driver: Driver
) -> None:
    """An event that has become pending since then is not on disk, so it must not be sent."""
    queue = taken(engine)
    first, second = write(engine, "a", "b")
    run(engine, "UPDATE shipper_outbox SET status = 'discarded' WHERE id = :id", id=first)
    work = Work(now=NOW, wanted=[first, second])
    claim(queue, 4711)  # the first turn of a connection also sets it up
    with driver.losing(0):
        claim(queue, 4711)
    # This turn makes two calls more: the row of its claim, and no second lease to read.
    with driver.losing(driver.calls + 1, after=True), pytest.raises(StoreUnavailable):
        queue.turn(work)
    run(engine, "UPDATE shipper_outbox SET status = 'pending' WHERE id = :id", id=first)
    assert [event.id for event in queue.turn(work)] == [second]
    assert claims(engine) == [[second]]


def test_who_was_taken_over_meanwhile_learns_it(
    engine: Engine, other: Engine, driver: Driver
) -> None:
    """A turn whose answer was lost isn't given again to an outbox that has another master."""
    points = _points(engine, driver)
    queue, work = story(engine)
    with driver.losing(points, after=True), pytest.raises(StoreUnavailable):
        queue.turn(work)
    successor = taken(other)
    before = everything(other)
    with pytest.raises(LeaseLost):
        queue.turn(work)
    assert everything(other) == before
    successor.release()

"""After a crash and after a stop: what may have been received is known, and goes first.

Promises 1 and 3 in the guarantees.
"""

import pytest
from sqlalchemy import Engine

from shipper.errors import LeaseLost, StoreUnavailable
from shipper.store.db.selection import Selection
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.operate.dead_letters import retry
from tests.store.daemons import NOW, column, write
from tests.store.drivers import Driver, story
from tests.store.shipping import (
    accepted,
    claim,
    claims,
    event_row,
    everything,
    failed,
    record,
    refused,
    settled,
    table,
    taken,
)


@pytest.fixture
def driver(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Give the driver, to lose calls of."""
    return Driver(engine, monkeypatch)


# -- a crash --------------------------------------------------------------------------------------


def _marked(engine: Engine) -> list[int]:
    return [row["id"] for row in table(engine, "outbox") if row["maybe_received"]]


def test_after_a_crash_the_first_of_each_lane_may_have_been_received(engine: Engine) -> None:
    """Only that one: the next of a lane starts when its predecessor's outcome is recorded."""
    queue = taken(engine)
    a, b, c = write(engine, "a", "b", "c")
    a2, b2, first, second = write(engine, "a", "b", None, None)
    elsewhere = write(engine, "a", destination="other")[0]
    claim(queue, a, b, a2, first, elsewhere)
    [done] = claim(queue, c)
    record(queue, accepted(done))
    assert Queue(engine, lease_ttl=60.0).acquire(Owner.here()) == 4
    assert _marked(engine) == [a, b, first, elsewhere]
    assert claims(engine) == []
    assert not {b2, second, c} & set(_marked(engine))


def test_what_may_have_been_received_is_shown_before_everything_else(engine: Engine) -> None:
    """Also before a dead letter of smaller id that an operator has put back into its lane."""
    queue = taken(engine)
    events = claim(queue, *write(engine, "a", "a", "a"))
    dead, out, behind = (event.id for event in events)
    record(queue, refused(events[0]))
    assert retry(engine, Selection(ids=(dead,)), NOW) == 1
    looks = settled(Looks(engine))
    assert [row.id for row in looks.look(Look("lane", "default", 9, lane="a"))] == [
        dead,
        out,
        behind,
    ]
    taken(engine)
    assert [row.id for row in looks.look(Look("lane", "default", 9, lane="a"))] == [
        out,
        dead,
        behind,
    ]
    assert [row.id for row in looks.look(Look("maybe_received", "default", 9))] == [out]


def test_the_mark_stays_until_the_event_has_its_answer(engine: Engine) -> None:
    """It comes with the event, another crash leaves it, and the delivery ends it."""
    [row] = write(engine, "a")
    claim(taken(engine), row)
    claim(taken(engine), row)
    queue = taken(engine)
    [event] = claim(queue, row)
    assert event.maybe_received
    record(queue, accepted(event))
    assert column(engine, "maybe_received", row) == 0


def test_an_event_that_waits_with_its_claim_keeps_its_time_after_a_crash(engine: Engine) -> None:
    """A restart isn't a reason to send it sooner, and its failures still count."""
    queue = taken(engine)
    [event, behind] = claim(queue, *write(engine, "a", "a"))
    record(queue, failed(event, 4.0))
    assert claims(engine) == [[event.id, behind.id]]
    again = taken(engine)
    rows = settled(Looks(engine)).look(Look("lane", "default", 9, lane="a"))
    assert [(row.id, row.next_attempt_at) for row in rows] == [
        (event.id, pytest.approx(NOW + 4.0, abs=0.002)),
        (behind.id, None),
    ]
    [found] = claim(again, event.id)
    assert (found.attempts, found.failed) == (event.attempts + 1, True)


def test_a_retried_event_that_was_not_sent_again_is_not_marked(engine: Engine) -> None:
    """Its old claim says nothing about its new life."""
    queue = taken(engine)
    first, second = claim(queue, *write(engine, "a", "b"))
    record(queue, refused(first))
    retry(engine, Selection(ids=(first.id,)), NOW)
    taken(engine)
    assert _marked(engine) == [second.id]


def test_what_had_ended_before_the_crash_is_left_alone(engine: Engine) -> None:
    """Its claim is still there when it was one of many, but its status tells."""
    queue = taken(engine)
    first, second = claim(queue, *write(engine, "a", "a"))
    record(queue, accepted(first))
    before = event_row(engine, first.id)
    taken(engine)
    assert event_row(engine, first.id) == before
    assert _marked(engine) == [second.id]


def test_a_recovery_that_is_lost_anywhere_is_done_by_the_next(
    engine: Engine, driver: Driver
) -> None:
    """The compound fault: the database goes away while somebody recovers from a crash."""
    queue, work = story(engine)
    queue.turn(work)
    with driver.losing(0):
        taken(engine)
    points, expected = driver.calls, _marked(engine)
    assert expected == [3, 4, 6, 7]
    for at in range(1, points + 1):
        queue, work = story(engine)
        queue.turn(work)
        with driver.losing(at, after=at % 2 == 0), pytest.raises(StoreUnavailable):
            taken(engine)
        taken(engine)
        assert (_marked(engine), claims(engine)) == (expected, [])


# -- a clean stop ---------------------------------------------------------------------------------


def test_a_clean_stop_leaves_no_doubt(engine: Engine) -> None:
    """Where everything was recorded or let go, nothing may have been received."""
    queue = taken(engine)
    done, waiting, unsent = claim(queue, *write(engine, "a", "b", "c"))
    released = [waiting.id, unsent.id]
    queue.turn(Work(now=NOW, records=[accepted(done), failed(waiting)], released=released))
    queue.release()
    assert _marked(engine) == []
    assert Queue(engine, lease_ttl=60.0).acquire(Owner.here()) == 0
    assert _marked(engine) == []


def test_what_was_cut_off_at_a_stop_is_marked_at_once(engine: Engine) -> None:
    """It is known without another start: whoever looks sees it."""
    queue = taken(engine)
    cut, behind, done = claim(queue, *write(engine, "a", "a", "b"))
    record(queue, accepted(done))
    queue.release()
    assert _marked(engine) == [cut.id]
    assert (claims(engine), behind.id in _marked(engine)) == ([], False)


def test_who_gave_the_outbox_back_can_do_nothing_with_it(engine: Engine) -> None:
    """Neither claim nor record nor prolong; to give it back twice does nothing."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    queue.release()
    before = everything(engine)
    for verb in (
        lambda: claim(queue, event.id),
        lambda: record(queue, accepted(event)),
        queue.renew,
    ):
        with pytest.raises(LeaseLost):
            verb()
    queue.release()
    assert everything(engine) == before

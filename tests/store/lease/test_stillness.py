"""A daemon has ended if its row hasn't changed while we looked: not while there was no database."""

import pytest

from shipper.errors import OutboxHeld
from shipper.store.lease.stillness import UNWATCHED, DaemonRow, StillnessTimer
from tests.store.lease.members import (
    TTL,
    FakeClock,
    Joined,
    pass_watched,
    settle,
)

ROW = DaemonRow(7, "a", None, "12:00", TTL, seems_over=False, turn=1)
AWAY = TTL + 1.0


@pytest.fixture
def timer(clock: FakeClock) -> StillnessTimer:
    """Give one that has looked at the row once."""
    found = StillnessTimer(clock)
    found.look([ROW])
    return found


def _look_for(timer: StillnessTimer, clock: FakeClock, seconds: float) -> float:
    """Look as rarely as may be; return what is left then."""
    while seconds > 0.0:
        clock.now += min(seconds, UNWATCHED)
        timer.look([ROW])
        seconds -= UNWATCHED
    return timer.left(ROW)


def test_a_still_row_is_over_after_its_lease(timer: StillnessTimer, clock: FakeClock) -> None:
    """With the first look from then on: that is how long a dead daemon keeps its shards."""
    assert timer.left(ROW) == TTL
    assert _look_for(timer, clock, TTL - 1.0) == 1.0
    assert _look_for(timer, clock, 1.0) == 0.0


@pytest.mark.parametrize("change", [{"turn": 2}, {"expires": "12:01"}])
def test_a_row_that_changes_is_waited_for_anew(
    timer: StillnessTimer, clock: FakeClock, change: dict[str, object]
) -> None:
    """Whether the daemon has written a turn or prolonged its lease."""
    _look_for(timer, clock, TTL - 1.0)
    row = ROW._replace(**change)  # type: ignore[arg-type]
    assert timer.left(row) == TTL
    timer.look([row])
    assert timer.left(row) == TTL


@pytest.mark.parametrize("before", [0.0, TTL - 1.0])
def test_what_was_seen_before_a_time_without_looks_is_forgotten(
    timer: StillnessTimer, clock: FakeClock, before: float
) -> None:
    """However long the row had been still, and however long the database was away."""
    _look_for(timer, clock, before)
    clock.now += UNWATCHED + 1.0
    timer.look([ROW])
    assert timer.left(ROW) == TTL
    assert _look_for(timer, clock, TTL) == 0.0


def test_time_after_the_last_look_does_not_count(timer: StillnessTimer, clock: FakeClock) -> None:
    """The judge itself may stand still after it has looked."""
    clock.now += AWAY
    assert timer.left(ROW) == TTL


def test_one_that_has_no_row_any_more_is_forgotten(timer: StillnessTimer, clock: FakeClock) -> None:
    """It is another one if the same row is there again."""
    clock.now += 1.0
    timer.look([])
    clock.now += 1.0
    timer.look([ROW])
    assert timer.left(ROW) == TTL


# -- on a server ----------------------------------------------------------------------------------


def test_an_outage_longer_than_a_lease_ends_no_living_daemon(
    joined: Joined, clock: FakeClock
) -> None:
    """None could write, and the first that is back knows that it hasn't seen anything either."""
    members = [joined(), joined(), joined()]
    settle(members)
    clock.now += AWAY
    first, *others = members
    assert first.attend().ended == ()
    first.queue.renew()
    pass_watched(clock, TTL / 2, first)
    for one in others:
        one.queue.renew()
        assert one.attend().ended == ()
    pass_watched(clock, TTL / 2, *members)
    assert first.attend().ended == ()


def test_one_that_died_in_an_outage_is_ended_a_lease_after_it(
    joined: Joined, clock: FakeClock
) -> None:
    """Counted from the first answered look on."""
    dead, other = joined(), joined()
    settle([dead, other])
    clock.now += AWAY
    assert other.attend().ended == ()
    pass_watched(clock, TTL, other)
    other.queue.renew()
    assert len(other.attend().ended) == 1


def test_a_judge_that_stood_still_spares_the_others(joined: Joined, clock: FakeClock) -> None:
    """It has not looked: what it remembers of them is as old."""
    still, other = joined(), joined()
    settle([still, other])
    clock.now += AWAY
    assert still.attend().ended == ()
    other.queue.renew()


def test_one_that_waits_to_be_alone_begins_anew_after_an_outage(
    joined: Joined, clock: FakeClock
) -> None:
    """And takes the outbox once it has watched a silent daemon for all of its lease."""
    joined()
    alone = joined(joins=False)
    lefts = []
    for seconds in (1.0, AWAY, 0.0):
        with pytest.raises(OutboxHeld) as held:
            alone.queue.acquire(alone.owner)
        lefts.append(held.value.left)
        clock.now += seconds
    assert lefts == [TTL, TTL - 1.0, TTL]
    pass_watched(clock, TTL, alone)
    alone.queue.acquire(alone.owner)

"""Alive and ready: what each depends on, and what it doesn't."""

import pytest

from shipper.drain.tally import Tally
from shipper.observe.health import SILENCE, Health
from tests.observe.clocks import Hand


class Drain:
    """Turns when it is told to."""

    beats = 0


@pytest.fixture
def clock() -> Hand:
    """Give a clock that stands still."""
    return Hand()


def test_it_is_alive_while_the_drain_turns(clock: Hand) -> None:
    """However seldom somebody asks."""
    drain = Drain()
    health = Health(drain, Tally(clock.now), clock)
    for _ in range(5):
        clock.now += 10 * SILENCE
        drain.beats += 1
        assert health.why_not_alive() is None


def test_a_drain_that_stands_still_is_not_alive(clock: Hand) -> None:
    """And is again as soon as it turns."""
    drain = Drain()
    health = Health(drain, Tally(clock.now), clock)
    clock.now += SILENCE
    assert health.why_not_alive() is None
    clock.now += 1.0
    assert health.why_not_alive() == "the drain has not turned for 61 s"
    drain.beats += 1
    assert health.why_not_alive() is None


def test_a_lost_database_is_not_ready_and_alive(clock: Hand) -> None:
    """The drain turns while it tries, and to start it anew would not help."""
    drain, tally = Drain(), Tally(clock.now)
    health = Health(drain, tally, clock)
    tally.lost(clock.now)
    clock.now += 5.0
    drain.beats += 1
    assert health.why_not_ready() == "the database has not answered for 5 s"
    assert health.why_not_alive() is None
    tally.turned(0.001, clock.now, 0.0)
    assert health.why_not_ready() is None


def test_a_drain_that_asks_nothing_is_not_ready(clock: Hand) -> None:
    """Whatever was written meanwhile, nobody has seen it."""
    tally = Tally(clock.now)
    health = Health(Drain(), tally, clock)
    clock.now += SILENCE + 1.0
    assert health.why_not_ready() == "the drain has not asked the database for 61 s"

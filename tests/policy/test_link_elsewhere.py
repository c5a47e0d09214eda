"""A destination that is down here, and up again for another daemon."""

import pytest

from shipper.policy.state import State
from tests.policy.link_parts import DOWN_BY, GONE, OK, down, later

NONE: frozenset[int] = frozenset()
ONE, BOTH = frozenset({7}), frozenset({7, 8})


@pytest.mark.parametrize("state", [State.OFFLINE, State.PAUSED])
def test_it_is_probed_at_once_when_another_daemon_gets_through(state: State) -> None:
    """However long its own wait is."""
    bench, _ = down(state)
    assert not bench.link.hear(NONE, bench.now)
    assert bench.allowed() == 0
    assert bench.link.hear(ONE, bench.now)
    assert bench.allowed() == 1
    bench.go("probe", OK)
    assert bench.state() is State.RAMPING


@pytest.mark.parametrize("state", [State.OFFLINE, State.PAUSED])
def test_a_probe_that_fails_then_is_not_repeated_for_the_same_reason(state: State) -> None:
    """A look every few seconds would otherwise be a probe every few seconds."""
    bench, _ = down(state)
    bench.link.hear(ONE, bench.now)
    bench.go("probe", DOWN_BY[state])
    due = bench.link.next_try_at
    assert not bench.link.hear(ONE, bench.now)
    assert bench.link.next_try_at == due
    assert bench.link.hear(BOTH, bench.now)
    bench.go("another", DOWN_BY[state])
    assert not bench.link.hear(ONE, bench.now)
    assert bench.allowed() == 0


def test_one_that_was_down_itself_meanwhile_is_news_again() -> None:
    """It has got through once more."""
    bench, _ = down(State.OFFLINE)
    assert bench.link.hear(ONE, bench.now)
    assert not bench.link.hear(NONE, bench.now)
    assert bench.link.hear(ONE, bench.now)


def test_a_new_outage_knows_nothing_of_the_others() -> None:
    """They may have noticed it by then."""
    bench, _ = down(State.OFFLINE)
    bench.link.hear(ONE, bench.now)
    bench.go("probe", OK)
    for lane in "abcdefgh":
        bench.go(lane, GONE)
    assert bench.state() is State.OFFLINE
    assert bench.link.hear(ONE, bench.now)


def test_a_pause_that_was_asked_for_is_kept() -> None:
    """The destination said so to this daemon."""
    bench, late = down(State.OFFLINE, flying=1)
    bench.blame(late[0], later(300.0))
    bench.link.hear(ONE, bench.now)
    assert bench.link.next_try_at == bench.now + 300.0
    throttled, _ = down(State.THROTTLED)
    assert not throttled.link.is_probed
    throttled.link.hear(ONE, throttled.now)
    assert throttled.allowed() == 0


def test_while_it_is_up_nothing_changes() -> None:
    """A look that began before may come back then."""
    bench, _ = down(State.OFFLINE)
    bench.probe("probe", OK)
    bench.link.hear(ONE, bench.now)
    assert (bench.state(), bench.link.next_try_at) == (State.RAMPING, None)

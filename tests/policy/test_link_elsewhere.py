"""A destination that is down here, and up again for another daemon."""

import pytest

from shipper.policy.backoff import Backoff
from shipper.policy.link import Link
from shipper.policy.outcome import Outcome
from shipper.policy.state import State
from tests.policy.link_parts import DOWN_BY, GONE, LATER, LOCKED, OK, Bench, down, later

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
    throttled.link.hear(ONE, throttled.now)
    assert throttled.wait() == 30.0


def worn(outcome: Outcome, daemons: int) -> Bench:
    """Return a link of one of many daemons whose probes have had this outcome for long."""
    bench = Bench(Link(8, Backoff(1.0, 60.0), daemons=daemons))
    bench.go("first", outcome)
    for number in range(20):
        bench.probe(f"probe{number}", outcome, chance=1.0)
    return bench


@pytest.mark.parametrize(("outcome", "pause"), [(later(5.0), 5.0), (later(0.0), 0.0), (LATER, 0.0)])
def test_beyond_its_pause_a_throttled_one_waits_for_no_turn_of_its_own(
    outcome: Outcome, pause: float
) -> None:
    """Another daemon has got through, so the pause is over for this one when it ends."""
    bench = worn(outcome, daemons=8)
    assert bench.wait() > pause + 30.0
    assert bench.link.hear(ONE, bench.now)
    assert bench.wait() == pause
    bench.probe("probe", OK)
    assert bench.state() is State.RAMPING


@pytest.mark.parametrize("outcome", [LOCKED, LATER, later(0.0)])
@pytest.mark.parametrize(
    ("others", "wait"), [(0, 480.0), (5, 180.0), (7, 60.0), (9, 60.0)], ids=str
)
def test_one_that_others_see_up_is_probed_for_those_only_that_do_not(
    outcome: Outcome, others: int, wait: float
) -> None:
    """No probe of another daemon takes the place of this one's: they have none to make."""
    bench = worn(outcome, daemons=8)
    bench.link.hear(frozenset(range(others)), bench.now)
    bench.probe("probe", outcome, chance=1.0)
    assert bench.wait() == wait
    bench.link.hear(NONE, bench.now)  # they have lost it as well
    bench.probe("another", outcome, chance=1.0)
    assert bench.wait() == 480.0


def test_one_that_all_others_see_up_is_asked_again_exactly_when_it_has_said() -> None:
    """As by a daemon that is alone."""
    bench = worn(later(5.0), daemons=8)
    assert bench.wait() == 40.0
    bench.link.hear(frozenset(range(7)), bench.now)
    bench.probe("probe", later(5.0), chance=1.0)
    assert bench.wait() == 5.0


def test_while_it_is_up_nothing_changes() -> None:
    """A look that began before may come back then."""
    bench, _ = down(State.OFFLINE)
    bench.probe("probe", OK)
    bench.link.hear(ONE, bench.now)
    assert (bench.state(), bench.link.next_try_at) == (State.RAMPING, None)

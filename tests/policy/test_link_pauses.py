"""A pause that a destination asked for is kept, whatever else comes of what was under way."""

from collections.abc import Callable

import pytest

from shipper.policy.outcome import Outcome
from shipper.policy.pace import Pace
from shipper.policy.state import State
from tests.policy.link_parts import GONE, LATER, LOCKED, OK, Bench, later


def probed_while_asked_to_wait(bench: Bench) -> int:
    """Return the probe under way of a link that another answer has asked to wait for 300 s."""
    slow = bench.begin("slow")
    bench.go("first", LATER)
    bench.now += 2.0
    probe = bench.begin("second")
    bench.blame(slow, later(300.0))
    return probe


def offline_and_asked_to_wait(bench: Bench) -> None:
    """Let a link be offline when a late answer asks to wait for 300 s."""
    slow = bench.begin("slow")
    for lane in "abcde":
        bench.go(lane, GONE)
    assert bench.state() is State.OFFLINE
    bench.blame(slow, later(300.0))


@pytest.mark.parametrize("outcome", [OK, LATER, later(5.0), GONE, LOCKED])
def test_a_probe_does_not_end_a_pause_that_was_asked_for_meanwhile(outcome: Outcome) -> None:
    """It was begun before; the receiver's last word counts."""
    bench = Bench()
    bench.blame(probed_while_asked_to_wait(bench), outcome)
    assert bench.link.is_down
    assert bench.link.next_try_at == bench.now + 300.0
    assert bench.link.allowance(bench.now + 299.0, 0) == 0
    assert bench.link.allowance(bench.now + 300.0, 0) == 1


def test_the_probe_after_the_pause_ends_it() -> None:
    """As any other."""
    bench = Bench()
    bench.blame(probed_while_asked_to_wait(bench), OK)
    bench.now += 300.0
    bench.go("third", OK)
    assert bench.state() is State.RAMPING


def test_a_late_answer_that_asks_to_wait_counts_for_a_link_that_is_offline() -> None:
    """A pause says when the next request can come, not why earlier ones failed."""
    bench = Bench()
    offline_and_asked_to_wait(bench)
    assert bench.link.next_try_at == bench.now + 300.0


def test_a_new_credential_does_not_shorten_a_pause_that_was_asked_for() -> None:
    """It probes what is offline at once, but not before the end of a pause."""
    bench = Bench()
    offline_and_asked_to_wait(bench)
    bench.link.probe_at_once(bench.now)
    assert bench.link.next_try_at == bench.now + 300.0


@pytest.mark.parametrize("asked", [offline_and_asked_to_wait, lambda b: b.go("a", later(3600.0))])
def test_an_operators_release_ends_any_pause(asked: Callable[[Bench], object]) -> None:
    """The next event goes out at once, and when it is accepted the others follow."""
    bench = Bench()
    asked(bench)
    bench.link.release(bench.now)
    assert bench.allowed() == 1
    bench.go("next", OK)
    assert bench.state() is State.RAMPING


def test_a_release_that_was_in_vain_is_no_invitation_to_hammer() -> None:
    """The destination asks for its pause again, and gets it."""
    bench = Bench()
    bench.go("a", later(1800.0))
    bench.link.release(bench.now)
    bench.go("b", later(1800.0))
    assert bench.allowed() == 0
    assert bench.wait() == 1800.0


def test_a_release_of_a_link_that_is_well_changes_nothing() -> None:
    """Nor is a probe of its own sent."""
    bench = Bench()
    bench.link.release(bench.now)
    assert (bench.state(), bench.link.next_try_at) == (State.READY, None)


@pytest.mark.parametrize("answer", [OK, later(86_400.0)])
def test_in_a_pause_of_a_day_a_probe_an_hour_asks_whether_it_still_holds(answer: Outcome) -> None:
    """A maintenance page of an hour can ask for a day; an operator may look only tomorrow."""
    bench = Bench()
    bench.go("a", later(86_400.0))
    assert bench.wait() == 3600.0
    bench.probe("b", answer)
    assert bench.state() is (State.RAMPING if answer is OK else State.THROTTLED)
    assert answer is OK or bench.wait() == 3600.0


def waits(rate: float, times: int) -> list[float]:
    """Return the seconds to wait after each of so many requests that begin at one moment."""
    pace, found = Pace(rate), []
    for _ in range(times):
        pace.take(100.0)
        found.append(round(pace.wait(100.0), 9))
    return found


def test_requests_are_spaced_by_the_rate() -> None:
    """What a hundredth of a second allows goes out together: a daemon doesn't wake more often."""
    assert waits(2.0, 3) == [0.5, 1.0, 1.5]
    assert waits(200.0, 3) == [0.0, 0.005, 0.01]
    assert waits(1000.0, 11) == [0.0] * 9 + [0.001, 0.002]
    assert waits(0.0, 3) == [0.0, 0.0, 0.0]


def test_what_was_not_sent_for_a_while_is_not_made_up_for() -> None:
    """After a rest the rate is what it was."""
    pace = Pace(2.0)
    pace.take(100.0)
    pace.take(200.0)
    assert pace.wait(200.0) == 0.5


def test_another_pace_has_counted_until_then() -> None:
    """A later moment counts, an earlier one doesn't."""
    pace = Pace(2.0)
    pace.take(100.0)
    pace.wait_until(103.0)
    assert pace.wait(100.0) == 3.0
    pace.wait_until(101.0)
    assert pace.wait(100.0) == 3.0

"""One bad event, or a receiver that is down in part: how many fail at the same time decides."""

import pytest

from shipper.policy.delivery import Blame
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.partial_outage import CROWD_LANES, FORGOTTEN_AFTER, Crowd
from shipper.policy.state import State
from tests.policy.link_parts import GONE, LOCKED, OK, Bench

BROKEN = Outcome(Kind.TRANSIENT, "http-500", "HTTP 500", 500)
HASTY = Outcome(Kind.TRANSIENT, "http-425", "HTTP 425", 425)
ODD = Outcome(Kind.TRANSIENT, "http-418", "HTTP 418", 418)
AWAY = Outcome(Kind.MISCONFIGURED, "http-302", "HTTP 302", 302)
CLOSED = Outcome(Kind.TRANSIENT, "closed", maybe_received=True)


@pytest.fixture
def bench() -> Bench:
    """Return a link that is ready."""
    return Bench()


def fail_together(bench: Bench, lanes: int, outcome: Outcome, rounds: int) -> list[Blame]:
    """Let so many lanes fail again and again, with another accepted after each of their tries."""
    blames = []
    bench.go("good", OK)
    for _ in range(rounds):
        for n in range(lanes):
            bench.now += 1.0
            blames.append(bench.go(f"bad{n}", outcome))
            bench.go("good", OK)
    return blames


@pytest.mark.parametrize("outcome", [BROKEN, HASTY, GONE, CLOSED])
@pytest.mark.parametrize(("lanes", "charged"), [(1, True), (9, True), (10, False), (20, False)])
def test_ten_failing_lanes_are_told_from_one(
    bench: Bench, outcome: Outcome, lanes: int, *, charged: bool
) -> None:
    """While others are accepted: few are bad events, many are a receiver that is down in part."""
    fail_together(bench, lanes, outcome, rounds=2)
    blames = fail_together(bench, lanes, outcome, rounds=20)
    assert set(blames) == {Blame.EVENT if charged else Blame.NEITHER}
    assert bench.state() is State.READY


@pytest.mark.parametrize("outcome", [LOCKED, AWAY, ODD])
def test_a_definite_answer_about_the_request_is_charged_however_many_get_it(
    bench: Bench, outcome: Outcome
) -> None:
    """A firewall that rejects one payload in a hundred has many lanes against it at a time."""
    fail_together(bench, 20, outcome, rounds=1)
    assert set(fail_together(bench, 20, outcome, rounds=3)) == {Blame.EVENT}
    assert bench.state() is State.READY


def test_of_a_week_long_partial_outage_nobody_pays(bench: Bench) -> None:
    """One shopper in ten, tried every minute, beside nine that are well."""
    blames = set()
    for minute in range(7 * 24 * 60):
        bench.now += 60.0
        blames.add(bench.go(f"bad{minute % 10}", BROKEN))
        for n in range(9):
            bench.go(f"good{n}", OK)
    assert blames <= {Blame.LINK, Blame.NEITHER}
    assert bench.state() is State.READY


def test_when_the_crowd_is_gone_the_last_one_pays_again(bench: Bench) -> None:
    """Those that are accepted leave it."""
    fail_together(bench, CROWD_LANES, BROKEN, rounds=2)
    bench.go("bad1", OK)
    assert bench.go("bad0", BROKEN) is Blame.EVENT


def test_a_lane_that_has_not_failed_for_long_is_no_longer_of_the_crowd(bench: Bench) -> None:
    """It may be held, or an operator gave its event up."""
    fail_together(bench, CROWD_LANES, BROKEN, rounds=2)
    bench.now += FORGOTTEN_AFTER + CROWD_LANES
    bench.go("good", OK)
    assert bench.go("bad0", BROKEN) is Blame.EVENT


def test_what_is_remembered_is_bounded_and_stays_a_crowd() -> None:
    """A hundred thousand lanes that fail take no more memory than a few."""
    crowd = Crowd()
    for n in range(100_000):
        crowd.failed(n, BROKEN, 1.0)
    for n in range(90_000, 99_990):
        crowd.ended(n)
    assert crowd.spares(BROKEN, 2.0)
    assert len(crowd._failed) <= 4096


# -- suspicion --------------------------------------------------------------------------------


def test_a_firewall_that_rejects_one_payload_does_not_pause_a_busy_link(bench: Bench) -> None:
    """It was accepted from others a moment ago; the second time it is charged to the event."""
    bench.go("good", OK)
    assert bench.go("poison", LOCKED) is Blame.LINK
    assert bench.state() is State.READY
    bench.go("good", OK)
    assert bench.go("poison", LOCKED) is Blame.EVENT
    assert bench.state() is State.READY


def test_three_lanes_in_a_row_pause_it(bench: Bench) -> None:
    """The API ID was revoked: two more requests than if nothing had been accepted just before."""
    bench.go("good", OK)
    for lane, after in [("a", State.READY), ("b", State.READY), ("c", State.PAUSED)]:
        assert bench.go(lane, LOCKED) is Blame.LINK
        assert bench.state() is after


def test_the_same_event_again_pauses_it(bench: Bench) -> None:
    """No other event was accepted meanwhile: nothing speaks for the link."""
    bench.go("good", OK)
    bench.go("a", LOCKED)
    assert bench.go("a", LOCKED) is Blame.LINK
    assert bench.state() is State.PAUSED


def test_an_acceptance_of_long_ago_leaves_no_doubt(bench: Bench) -> None:
    """Then the first such answer pauses the link, at once and loudly."""
    bench.go("good", OK)
    bench.now += 11.0
    bench.go("a", LOCKED)
    assert bench.state() is State.PAUSED


def test_timeouts_that_began_together_say_nothing_against_a_link_that_others_pass(
    bench: Bench,
) -> None:
    """They end together, too: five in a row, with nothing accepted in the same moment."""
    slow = [bench.begin(f"slow{n}") for n in range(8)]
    for n in range(100):
        bench.now += 0.1
        bench.go(f"good{n}", OK)
    assert {bench.blame(number, GONE) for number in slow} == {Blame.LINK}
    assert bench.state() is State.READY


def test_who_is_known_to_fail_says_nothing_new(bench: Bench) -> None:
    """In a quiet shop the tries of those outnumber the others: fifty in a row are no outage."""
    fail_together(bench, CROWD_LANES, BROKEN, rounds=2)
    for n in range(50):
        assert bench.go(f"bad{n % CROWD_LANES}", BROKEN) is not Blame.EVENT
    assert bench.state() is State.READY
    for n in range(5):
        bench.go(f"new{n}", BROKEN)
    assert bench.state() is State.OFFLINE


def test_tls_is_never_about_an_event(bench: Bench) -> None:
    """The certificate expired between two requests."""
    bench.go("good", OK)
    bench.go("a", Outcome(Kind.MISCONFIGURED, "tls", "expired", reached=False))
    assert bench.state() is State.PAUSED

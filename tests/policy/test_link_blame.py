"""Whom a failure is charged to: contrast, and what no event pays for."""

import pytest

from shipper.policy.backoff import Backoff
from shipper.policy.blame import LANES_FAILING_TO_OFFLINE
from shipper.policy.delivery import Blame
from shipper.policy.link import EVERYTHING_REFUSED, Link
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.state import State
from tests.policy.link_parts import GONE, LOCKED, NO, OK, Bench, down


@pytest.fixture
def bench() -> Bench:
    """Return a link that is ready."""
    return Bench()


# -- contrast ---------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [GONE, LOCKED])
def test_an_event_is_charged_when_another_was_begun_after_its_failure_and_accepted(
    bench: Bench, outcome: Outcome
) -> None:
    """Then the receiver works, and this event is what it can't take."""
    bench.go("poison", GONE)
    bench.go("good", OK)
    assert bench.go("poison", outcome) is Blame.EVENT
    assert bench.state() is State.READY


def test_one_begun_before_the_failure_is_no_witness(bench: Bench) -> None:
    """It may have been processed while the receiver still worked."""
    poison, early = bench.begin("poison"), bench.begin("good")
    bench.blame(poison, GONE)
    bench.blame(early, OK)
    assert bench.go("poison", GONE) is Blame.LINK


def test_a_witness_stays_one_when_an_older_try_is_accepted_later(bench: Bench) -> None:
    """Answers come in any order."""
    early = bench.begin("slow")
    bench.go("poison", GONE)
    bench.go("good", OK)
    bench.blame(early, OK)
    assert bench.go("poison", GONE) is Blame.EVENT


@pytest.mark.parametrize(("seconds", "blame"), [(600.0, Blame.EVENT), (600.1, Blame.LINK)])
def test_a_witness_is_believed_for_ten_minutes(bench: Bench, seconds: float, blame: Blame) -> None:
    """An API that worked last night says nothing about this morning."""
    bench.go("poison", GONE)
    bench.go("good", OK)
    bench.now += seconds
    assert bench.go("poison", GONE) is blame


def test_a_first_failure_is_never_the_events(bench: Bench) -> None:
    """However many were accepted before it, and meanwhile."""
    poison = bench.begin("poison")
    bench.go("good", OK)
    assert bench.blame(poison, GONE) is Blame.LINK


def test_a_charged_failure_does_not_count_against_the_link(bench: Bench) -> None:
    """One event that the receiver can't take must not stop all others."""
    bench.go("poison", GONE)
    bench.go("good", OK)
    assert {bench.go("poison", outcome) for outcome in [GONE, LOCKED] * 20} == {Blame.EVENT}
    assert bench.state() is State.READY


def test_while_ramping_nobody_is_charged(bench: Bench) -> None:
    """Contrast there speaks for the link, and not yet against the event."""
    bench.go("poison", LOCKED)
    bench.probe("good", OK)
    assert bench.go("poison", LOCKED) is Blame.NEITHER
    assert bench.state() is State.RAMPING


def test_a_lone_event_waits(bench: Bench) -> None:
    """It looks like an outage of this event alone: a thousand failures, and nothing is charged."""
    assert Blame.EVENT not in {bench.go("lone", GONE) for _ in range(5)}
    assert {bench.probe("lone", GONE) for _ in range(1000)} == {Blame.NEITHER}


def test_a_payload_that_a_firewall_rejects_ends_by_itself(bench: Bench) -> None:
    """Its first rejection pauses the link; as soon as others get through it is charged."""
    bench.go("poison", LOCKED)
    assert bench.state() is State.PAUSED
    bench.probe("good", OK)
    while bench.state() is State.RAMPING:
        bench.go("good", OK)
    assert {bench.go("poison", LOCKED) for _ in range(20)} == {Blame.EVENT}


# -- what was begun before an outage ----------------------------------------------------------


def test_failures_from_before_the_outage_do_not_bring_it_down_again() -> None:
    """Sixty timeouts that come in while it ramps up were begun when it was broken."""
    bench = Bench(Link(64, Backoff(1.0, 60.0)))
    late = [bench.begin(f"k{n}") for n in range(60)]
    bench.go("a", LOCKED)
    bench.probe("p", OK)
    assert bench.allowed() == 0
    assert {bench.blame(number, GONE) for number in late[:30]} == {Blame.NEITHER}
    assert bench.blame(late[30], LOCKED) is Blame.NEITHER
    assert bench.state() is State.RAMPING
    bench.link.relax(0, bench.now)
    assert {bench.blame(number, LOCKED) for number in late[31:]} == {Blame.NEITHER}
    assert bench.state() is State.READY


def test_an_old_failure_is_not_charged_by_contrast_after_the_outage() -> None:
    """The event had failed before, and others are accepted now: its try is older than that."""
    bench = Bench()
    bench.go("a", GONE)
    other, late = bench.begin("b"), bench.begin("a")
    bench.blame(other, LOCKED)
    bench.probe("c", OK)
    bench.link.relax(0, bench.now)
    assert bench.blame(late, GONE) is Blame.NEITHER


# -- everything is refused --------------------------------------------------------------------


def test_five_lanes_refused_in_a_row_pause_the_link(bench: Bench) -> None:
    """Four die; from then on a refusal kills nothing."""
    blames = [bench.go(f"k{n}", NO) for n in range(5)]
    assert blames == [Blame.EVENT] * 4 + [Blame.NEITHER]
    assert (bench.state(), bench.link.reason) == (State.PAUSED, EVERYTHING_REFUSED)
    assert {bench.probe(f"p{n}", NO) for n in range(100)} == {Blame.NEITHER}


def test_of_many_in_flight_only_four_die(bench: Bench) -> None:
    """The rest of them come back to a link that knows better."""
    flying = [bench.begin(f"k{n}") for n in range(64)]
    blames = [bench.blame(number, NO) for number in flying]
    assert blames.count(Blame.EVENT) == 4


def test_an_accepted_one_between_them_shows_that_the_events_are_at_fault(bench: Bench) -> None:
    """As do refusals of one lane alone."""
    for n in range(50):
        assert bench.go(f"k{n}", NO) is Blame.EVENT
        if n % 4 == 3:
            bench.go("good", OK)
    assert {bench.go("k49", NO) for _ in range(50)} == {Blame.EVENT}
    assert bench.state() is State.READY


def test_only_an_accepted_probe_ends_the_suspicion(bench: Bench) -> None:
    """Neither a late success nor a time offline; then a refusal is the event's again."""
    late = bench.begin("late")
    for n in range(5):
        bench.go(f"k{n}", NO)
    bench.blame(late, OK)
    bench.probe("p", GONE)
    assert (bench.state(), bench.link.reason) == (State.PAUSED, EVERYTHING_REFUSED)
    assert bench.probe("p", NO) is Blame.NEITHER
    bench.probe("p", OK)
    assert bench.go("p", NO) is Blame.EVENT


def test_refusals_of_probes_count_too() -> None:
    """An API that is offline first and refuses everything then costs no more."""
    bench, _ = down(State.OFFLINE)
    blames = [bench.probe(f"p{n}", NO) for n in range(10)]
    assert blames == [Blame.EVENT] * 4 + [Blame.NEITHER] * 6
    assert bench.state() is State.PAUSED


def test_one_answer_in_an_outage_is_not_believed_against_everybody(bench: Bench) -> None:
    """Of ten events that failed before it, a few are charged once, then the link is offline."""
    lanes = "abcdefghij"
    for lane in lanes:
        bench.now += 60.0
        bench.go(lane, GONE)
    bench.probe("z", OK)
    bench.link.relax(0, bench.now)

    blames = [bench.go(lane, GONE) for lane in lanes]

    assert blames.count(Blame.EVENT) == LANES_FAILING_TO_OFFLINE - 1
    assert bench.state() is State.OFFLINE


def test_what_never_reached_anybody_is_not_the_events_doing(bench: Bench) -> None:
    """A refused connection says nothing about a payload, whatever was accepted before."""
    bench.go("poison", GONE)
    bench.go("good", OK)
    assert bench.go("poison", Outcome(Kind.TRANSIENT, "refused", reached=False)) is Blame.LINK


def test_who_takes_the_place_of_a_route_knows_what_was_refused(bench: Bench) -> None:
    """A reload in the middle makes no refusal the events' own fault again."""
    assert [bench.go(f"k{n}", NO) for n in range(4)] == [Blame.EVENT] * 4
    follower = Bench()
    follower.link.contrast.follow(bench.link.contrast)
    assert follower.go("k4", NO) is Blame.NEITHER

"""Each way of a link from one state to another, and whom a failure is charged to."""

import pytest

from shipper.policy.backoff import Backoff
from shipper.policy.delivery import Blame
from shipper.policy.link import EVERYTHING_REFUSED, Link
from shipper.policy.outcome import Outcome
from shipper.policy.state import State
from tests.policy.link_parts import BARE, DOWN_BY, GONE, LATER, LOCKED, NO, OK, Bench, down, later


@pytest.fixture
def bench() -> Bench:
    """Return a link that is ready."""
    return Bench()


# -- going down -------------------------------------------------------------------------------


def test_five_failures_in_a_row_make_it_offline(bench: Bench) -> None:
    """Charged to the link; the reason is what the fifth said."""
    assert [bench.go(f"k{n}", GONE) for n in range(4)] == [Blame.LINK] * 4
    assert (bench.state(), bench.allowed()) == (State.READY, 8)
    assert bench.go("k4", GONE) is Blame.LINK
    assert (bench.state(), bench.link.since) == (State.OFFLINE, bench.now)
    assert bench.link.reason == "timeout: no answer within 10 s"
    assert (bench.allowed(), bench.wait()) == (0, 1.0)


def test_a_reason_without_details_is_the_cause() -> None:
    """No trailing colon."""
    bench = Bench()
    for _ in range(5):
        bench.go("a", BARE)
    assert bench.link.reason == "closed"


def test_one_success_between_them_begins_the_count_anew(bench: Bench) -> None:
    """In a row means that nothing was accepted between."""
    for outcome in [GONE] * 4 + [OK] + [GONE] * 4:
        bench.go(f"k{bench.link.begun}", outcome)
    assert bench.state() is State.READY


def test_a_configuration_failure_pauses_it_at_once(bench: Bench) -> None:
    """A wrong API ID touches no event's budget."""
    assert bench.go("a", LOCKED) is Blame.LINK
    assert (bench.state(), bench.link.reason) == (State.PAUSED, "http-401: HTTP 401")


@pytest.mark.parametrize(
    ("outcome", "wait"),
    [(later(0.5), 0.5), (later(7.0), 7.0), (later(3600.0), 3600.0), (LATER, 1.0)],
)
def test_a_throttled_link_waits_what_it_was_told(
    bench: Bench, outcome: Outcome, wait: float
) -> None:
    """Exactly the Retry-After, also beyond the longest backoff; without one, the backoff."""
    assert bench.go("a", outcome) is Blame.NEITHER
    assert (bench.state(), bench.link.reason) == (State.THROTTLED, "HTTP 429")
    assert bench.wait() == wait
    bench.now += wait - 0.001
    assert bench.allowed() == 0
    bench.now += 0.001
    assert bench.allowed() == 1


def test_without_a_wish_the_backoff_alone_says_how_long() -> None:
    """Also where it is short."""
    bench = Bench(Link(8, Backoff(0.1, 60.0)))
    bench.go("a", LATER)
    assert bench.link.next_try_at == bench.now + 0.1


def test_retry_after_no_time_at_all_is_no_invitation_to_hammer(bench: Bench) -> None:
    """A receiver that always says 0 gets the waits of any other that is down."""
    bench.go("a", later(0.0))
    assert bench.wait() == 1.0
    bench.probe("a", later(0.0), chance=1.0)
    assert bench.wait() == 4.0


def test_each_time_down_is_an_outage_of_its_own(bench: Bench) -> None:
    """History has one row for each; changes among the states of being down are the same one."""
    bench.go("a", LOCKED)
    bench.probe("b", GONE)
    bench.probe("c", LATER)
    assert bench.link.outage == 1
    bench.probe("d", OK)
    bench.go("e", LOCKED)
    assert bench.link.outage == 2


# -- while it is down -------------------------------------------------------------------------


@pytest.mark.parametrize("state", DOWN_BY)
@pytest.mark.parametrize(
    ("outcome", "after"),
    [
        (GONE, State.OFFLINE),
        (LOCKED, State.PAUSED),
        (LATER, State.THROTTLED),
        (OK, State.RAMPING),
        (NO, None),
    ],
)
def test_the_probe_decides(state: State, outcome: Outcome, after: State | None) -> None:
    """What it means is what the link is; a refusal speaks of the event alone."""
    bench, _ = down(state)
    since = bench.link.since
    blame = bench.probe("p", outcome)
    assert blame is (Blame.EVENT if outcome is NO else Blame.NEITHER)
    assert bench.state() is (after or state)
    assert bench.link.since == (since if bench.state() is state else bench.now)
    assert outcome is not GONE or bench.link.reason == "timeout: no answer within 10 s"


@pytest.mark.parametrize("state", DOWN_BY)
def test_only_one_probe_at_a_time(state: State) -> None:
    """The next may go when its predecessor has ended and its time has come."""
    bench, _ = down(state)
    bench.now = bench.link.next_try_at or 0.0
    assert bench.allowed() == 1
    number = bench.begin("p")
    bench.now += 1e6
    assert bench.allowed() == 0
    bench.blame(number, GONE)
    assert bench.allowed() == 0
    bench.now += 60.0
    assert bench.allowed() == 1


def test_a_probe_that_was_cut_off_is_forgotten() -> None:
    """Another try that is cut off is not the probe."""
    bench, (late,) = down(State.PAUSED, flying=1)
    bench.now += 1.0
    number = bench.begin("p")
    bench.link.abandon(late)
    assert bench.allowed() == 0
    bench.link.abandon(number)
    assert bench.allowed() == 1


def test_probes_become_rarer_up_to_the_limit() -> None:
    """At least every probe_max_delay, however long it lasts."""
    bench, _ = down(State.OFFLINE)
    waits = []
    for _ in range(8):
        bench.probe("p", GONE, chance=1.0)
        waits.append(bench.wait())
    assert waits == [4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]


def test_after_a_refused_probe_another_event_is_asked_at_once() -> None:
    """The answer was about the event: the link works after all."""
    bench, _ = down(State.OFFLINE)
    bench.probe("p", NO)
    assert (bench.state(), bench.allowed()) == (State.OFFLINE, 1)


@pytest.mark.parametrize("state", DOWN_BY)
@pytest.mark.parametrize("outcome", [OK, NO, LATER, LOCKED, GONE])
def test_a_late_answer_neither_brings_it_up_nor_moves_the_probe(
    state: State, outcome: Outcome
) -> None:
    """A try that began before the outage says nothing about the link now, and charges no event."""
    bench, late = down(state, flying=1)
    before = (bench.state(), bench.link.reason, bench.link.next_try_at)
    blame = bench.blame(late[0], outcome)
    assert blame is (Blame.EVENT if outcome is NO else Blame.NEITHER)
    assert (bench.state(), bench.link.reason, bench.link.next_try_at) == before


@pytest.mark.parametrize("state", [State.OFFLINE, State.PAUSED])
def test_a_late_wish_to_wait_is_heeded_by_the_probe(state: State) -> None:
    """The destination said how long, whatever else was wrong by then."""
    bench, late = down(state, flying=1)
    at = bench.now
    assert bench.blame(late[0], later(5.0)) is Blame.NEITHER
    assert bench.state() is state
    assert bench.link.next_try_at == at + 5.0


def test_a_late_answer_may_lengthen_a_throttle_but_not_shorten_it() -> None:
    """The longest of what the destination has asked for counts."""
    bench, late = down(State.THROTTLED, flying=2)
    bench.blame(late[0], later(5.0))
    assert bench.wait() == 30.0
    bench.blame(late[1], later(50.0))
    assert bench.wait() == 50.0


def test_many_late_throttles_do_not_make_probes_rarer() -> None:
    """Sixty answers of one moment are one refusal, not sixty failed probes."""
    bench = Bench()
    flying = [bench.begin(f"k{n}") for n in range(60)]
    for number in flying:
        bench.blame(number, LATER, chance=1.0)
    assert bench.wait() == 2.0


def test_late_refusals_do_not_shorten_a_throttle() -> None:
    """Also not when they are so many that everything seems to be refused."""
    bench, late = down(State.THROTTLED, flying=7)
    blames = [bench.blame(number, NO) for number in late]
    assert blames == [Blame.EVENT] * 4 + [Blame.NEITHER] * 3
    assert (bench.state(), bench.wait()) == (State.THROTTLED, 30.0)
    assert bench.probe("p", NO) is Blame.NEITHER
    assert (bench.state(), bench.link.reason) == (State.PAUSED, EVERYTHING_REFUSED)


@pytest.mark.parametrize("state", [State.OFFLINE, State.PAUSED])
def test_an_operator_may_ask_for_a_probe_at_once(state: State) -> None:
    """`release`, SIGHUP and a changed credential."""
    bench, _ = down(state)
    bench.link.probe_at_once(bench.now)
    assert bench.allowed() == 1


def test_nobody_but_the_destination_ends_a_throttle_early() -> None:
    """Its wait is its own word; and where the link is up there is nothing to probe."""
    bench, _ = down(State.THROTTLED)
    bench.link.probe_at_once(bench.now)
    assert (bench.allowed(), bench.wait()) == (0, 30.0)
    bench.probe("p", OK)
    bench.link.probe_at_once(bench.now)
    assert bench.link.next_try_at is None


def test_a_held_link_starts_nothing_and_still_learns(bench: Bench) -> None:
    """An operator's word stands over the state, and doesn't replace it."""
    late = bench.begin("a")
    bench.link.held = True
    assert (bench.allowed(), bench.link.shown) == (0, State.HELD)
    bench.blame(late, LOCKED)
    bench.now += 60.0
    assert (bench.allowed(), bench.link.shown) == (0, State.HELD)
    bench.link.held = False
    assert (bench.allowed(), bench.link.shown) == (1, State.PAUSED)


# -- coming back ------------------------------------------------------------------------------


def test_an_accepted_probe_makes_it_ramp_up() -> None:
    """One, two, four in flight, each step when as many were accepted; then it is ready."""
    bench, _ = down(State.PAUSED)
    bench.probe("p", OK)
    steps = []
    while bench.state() is State.RAMPING:
        steps.append(bench.allowed())
        flying = [bench.begin(f"k{n}") for n in range(bench.allowed())]
        assert bench.allowed() == 0
        for number in flying:
            bench.blame(number, OK)
    assert steps == [1, 2, 4]
    assert (bench.link.reason, bench.link.next_try_at, bench.allowed()) == (None, None, 8)


def test_a_ramp_widens_when_as_many_were_accepted_as_it_allows() -> None:
    """Not before the last of them; and ready is since then."""
    bench, _ = down(State.PAUSED)
    bench.probe("p", OK)
    allowed = []
    while bench.state() is State.RAMPING:
        allowed.append(bench.allowed())
        bench.now += 1.0
        bench.go("a", OK)
    assert allowed == [1, 2, 2, 4, 4, 4, 4]
    assert bench.link.since == bench.now


def test_a_ramp_never_goes_beyond_max_in_flight() -> None:
    """Also where that is no power of two, or one."""
    for most, steps in [(1, [1]), (2, [1]), (3, [1, 2]), (5, [1, 2, 4])]:
        bench = Bench(Link(most, Backoff(1.0, 60.0)))
        bench.go("a", LOCKED)
        bench.probe("a", OK)
        seen = []
        while bench.state() is State.RAMPING:
            seen.append(bench.allowed())
            for number in [bench.begin("x") for _ in range(bench.allowed())]:
                bench.blame(number, OK)
        assert (seen, bench.allowed()) == (steps, most)


def test_a_ramp_that_holds_nothing_back_ends(bench: Bench) -> None:
    """Where less is to be sent than it allows, it is ready; where more waits, it goes on."""
    bench.go("a", LOCKED)
    bench.link.relax(0, bench.now)
    assert bench.state() is State.PAUSED
    bench.probe("a", OK)
    bench.link.relax(1, bench.now)
    assert bench.state() is State.RAMPING
    bench.now += 3.0
    bench.link.relax(0, bench.now)
    assert (bench.state(), bench.link.since) == (State.READY, bench.now)


@pytest.mark.parametrize("outcome", [GONE, LOCKED])
def test_new_failures_bring_a_ramping_link_down_again(outcome: Outcome) -> None:
    """It was only a gap in the outage."""
    bench, _ = down(State.PAUSED)
    bench.probe("p", OK)
    while bench.state() is State.RAMPING:
        bench.go(f"k{bench.link.begun}", outcome)
    assert bench.state() is (State.OFFLINE if outcome is GONE else State.PAUSED)


@pytest.mark.parametrize("state", [State.OFFLINE, State.PAUSED])
def test_a_link_that_was_down_is_probed_when_the_daemon_comes_back(state: State) -> None:
    """With one request, not with a full load."""
    link = Link(8, Backoff(1.0, 60.0))
    link.resume(state, "why", since=90.0, until=500.0)
    assert (link.state, link.reason, link.since) == (state, "why", 90.0)
    assert (link.allowance(100.0, 0), link.outage) == (1, 1)


def test_a_pause_that_was_asked_for_outlives_the_daemon() -> None:
    """Nothing goes out before its end."""
    link = Link(8, Backoff(1.0, 60.0))
    link.resume(State.THROTTLED, "HTTP 429", since=90.0, until=500.0)
    assert link.allowance(499.0, 0) == 0
    bench = Bench(link, now=500.0)
    bench.probe("a", OK)
    assert bench.state() is State.RAMPING


def test_a_link_that_was_well_begins_well() -> None:
    """Ready and ramping are the same to a new process."""
    link = Link(8, Backoff(1.0, 60.0))
    link.resume(State.RAMPING, None, since=90.0, until=500.0)
    assert link.state is State.READY
    assert link.allowance(100.0, 0) == 8


def test_a_probe_under_way_is_not_awaited_by_the_clock() -> None:
    """Its answer wakes the drain; its time has passed."""
    link = Link(8, Backoff(1.0, 60.0))
    link.resume(State.THROTTLED, None, since=90.0, until=100.0)
    assert link.next_probe() == 100.0
    number = link.begin()
    assert link.next_probe() is None
    link.abandon(number)
    assert link.next_probe() == 100.0


def test_the_next_try_is_the_probe_or_the_first_of_what_has_failed() -> None:
    """Whatever comes next, for people who look."""
    well = Bench()
    well.go("a", GONE)
    well.link.failing.retried_at(well.now + 7.0, well.now)
    assert well.link.next_try == well.now + 7.0
    bench, _ = down(State.OFFLINE)
    assert bench.link.next_try == bench.link.next_try_at

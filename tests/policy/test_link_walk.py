"""The link under arbitrary sequences of tries and answers: what must never happen doesn't."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shipper.policy.backoff import Backoff
from shipper.policy.delivery import Blame
from shipper.policy.link import Link
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.pace import Pace
from shipper.policy.state import State
from tests.policy.link_parts import GONE, LATER, LOCKED, NO, OK, OUTCOMES, Bench, later

_LANES = st.sampled_from([f"k{n}" for n in range(8)])
_FAILURES = st.sampled_from([GONE, LOCKED, LATER, later(90.0)])
_ANSWERS = st.sampled_from([*OUTCOMES, later(0.0), later(5.0), later(90.0)])


class Walk(RuleBasedStateMachine):
    """Tries begin when they may, and end with anything in any order."""

    @initialize(most=st.integers(1, 9), daemons=st.sampled_from([1, 2, 8]))
    def open(self, most: int, daemons: int) -> None:
        """Begin with a ready link."""
        self.bench = Bench(Link(most, Backoff(1.0, 60.0), daemons=daemons))
        self.most = most
        self.probes: set[int] = set()
        self.old: set[int] = set()  # begun before the link went down
        self.accepted: list[int] = []
        self.promised = 0.0  # by the destination: nothing starts before
        self.refused: set[str] = set()  # lanes whose events died since the last success

    @rule(lane=_LANES)
    def begin(self, lane: str) -> None:
        """Begin a try, where one may."""
        if lane in self.bench.open.values() or self.bench.allowed() == 0:
            return
        down = self.bench.link.is_down
        number = self.bench.begin(lane)
        if down:
            assert self.bench.now >= self.promised
            self.probes.add(number)

    @rule(seconds=st.sampled_from([0.3, 1.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.bench.now += seconds

    @rule()
    def ask_for_a_probe(self) -> None:
        """Probe at once: an operator says that it may work now."""
        self.bench.link.probe_at_once(self.bench.now)

    @rule(up=st.frozensets(st.integers(1, 3)))
    def hear(self, up: frozenset[int]) -> None:
        """Hear which other daemons see the destination up."""
        self.bench.link.hear(up, self.bench.now)

    @rule()
    def relax(self) -> None:
        """Tell that nothing else is to be sent."""
        self.bench.link.relax(len(self.bench.open), self.bench.now)

    @precondition(lambda self: self.bench.open)
    @rule(data=st.data(), outcome=_ANSWERS, chance=st.sampled_from([0.0, 0.5, 0.999]))
    def answer(self, data: st.DataObject, outcome: Outcome, chance: float) -> None:
        """End a try."""
        link, bench = self.bench.link, self.bench
        number = data.draw(st.sampled_from(sorted(bench.open)))
        lane, before, was_down = bench.open[number], link.state, link.is_down
        first = bench.streaks.get(lane)
        proof = first is not None and any(other > first for other in self.accepted)
        blame = bench.blame(number, outcome, chance)
        probe = number in self.probes
        self.probes.discard(number)
        self._judge(outcome, blame, lane, charged=proof and before is State.READY, number=number)
        if outcome is OK:
            self.accepted.append(number)
        if was_down and not link.is_down:
            assert probe
            assert (outcome, link.state) == (OK, State.RAMPING)
        if was_down and not probe:
            assert link.state is before
        if link.is_down and not was_down:
            self.old = set(bench.open)
        self._promise(outcome, was_down=was_down, probe=probe)

    def _judge(
        self, outcome: Outcome, blame: Blame, lane: str, *, charged: bool, number: int
    ) -> None:
        match outcome.kind:
            case Kind.ACCEPTED:
                self.refused.clear()
                assert blame is Blame.NEITHER
            case Kind.THROTTLED:
                assert blame is Blame.NEITHER
            case Kind.REFUSED:
                self.refused |= {lane} if blame is Blame.EVENT else set()
                assert len(self.refused) <= 4
            case _ if number in self.old:
                assert blame is Blame.NEITHER
            case _:
                assert (blame is Blame.EVENT) == charged

    def _promise(self, outcome: Outcome, *, was_down: bool, probe: bool) -> None:
        throttled = self.bench.state() is State.THROTTLED
        if throttled and outcome.retry_after:
            self.promised = max(self.promised, self.bench.now + outcome.retry_after)
        elif was_down and probe:
            self.promised = 0.0

    @invariant()
    def bounds_hold(self) -> None:
        """Never more than one probe, never more in flight than allowed."""
        if not hasattr(self, "bench"):
            return
        link = self.bench.link
        assert 0 <= self.bench.allowed() <= self.most
        assert len(self.probes) <= 1
        if link.is_down:
            assert self.bench.allowed() + len(self.probes) <= 1
            assert link.next_try_at is not None
            assert link.next_try_at >= self.promised
            assert link.reason
        else:
            assert self.bench.allowed() <= max(0, self.most - len(self.bench.open))
            assert (link.next_try_at, link.reason) == (None, None)


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=200, stateful_step_count=80, deadline=None)


@given(
    before=st.lists(st.tuples(_LANES, _ANSWERS), max_size=30),
    outage=st.lists(st.tuples(_LANES, _FAILURES), min_size=1, max_size=200),
)
def test_an_outage_charges_nobody_once_the_link_is_down(
    before: list[tuple[str, Outcome]], outage: list[tuple[str, Outcome]]
) -> None:
    """Of any length, with any mix of failures, whatever went before."""
    bench = Bench()

    def go(lane: str, outcome: Outcome) -> tuple[bool, Blame]:
        down = bench.link.is_down
        return down, bench.probe(lane, outcome) if down else bench.go(lane, outcome)

    for lane, outcome in before:
        go(lane, outcome)
    blames = [go(lane, outcome) for lane, outcome in outage]
    assert all(blame is Blame.NEITHER for down, blame in blames if down)
    assert [down for down, _ in blames] == sorted(down for down, _ in blames), "it came up"


@given(st.lists(st.tuples(st.sampled_from([OK, GONE]), _LANES), max_size=60), st.data())
def test_an_outage_that_nobody_failed_before_charges_nobody_at_all(
    history: list[tuple[Outcome, str]], data: st.DataObject
) -> None:
    """However many are in flight when it begins, and however it is noticed."""
    bench = Bench()
    for outcome, lane in history:
        bench.go(lane, outcome if bench.state() is State.READY else OK)
    bench.streaks.clear()  # the events that failed have been delivered since
    flying = [bench.begin(f"n{n}") for n in range(data.draw(st.integers(0, 8)))]
    blames = {bench.blame(number, data.draw(_FAILURES)) for number in flying}
    for n in range(20):
        lane, outcome = f"m{n}", data.draw(_FAILURES)
        blames.add(bench.probe(lane, outcome) if bench.link.is_down else bench.go(lane, outcome))
    assert Blame.EVENT not in blames


@given(st.lists(st.tuples(st.integers(0, 63), st.booleans()), min_size=1, max_size=200))
def test_when_everything_is_refused_at_most_four_die(steps: list[tuple[int, bool]]) -> None:
    """Any number in flight, in any order; each lane's next event fares no better."""
    bench = Bench(Link(64, Backoff(1.0, 60.0)))
    dead = 0
    for n, (pick, more) in enumerate(steps):
        if bench.link.is_down:
            bench.now += 60.0
        if more and bench.allowed():
            bench.begin(f"k{n}")
        elif bench.open:
            number = sorted(bench.open)[pick % len(bench.open)]
            dead += bench.blame(number, NO) is Blame.EVENT
    assert dead <= 4


@given(
    rate=st.floats(0.05, 5000.0),
    steps=st.lists(st.floats(0.0, 3.0) | st.just(0.0), min_size=1, max_size=300),
    began=st.floats(0.0, 1e7),
)
def test_no_second_sees_more_than_the_rate(rate: float, steps: list[float], began: float) -> None:
    """At most one more than `rate` in any second, however the requests come."""
    pace, now = Pace(rate), began
    sent: list[float] = []
    for step in steps:
        now += step
        now += pace.wait(now)
        if pace.wait(now) <= 0:
            pace.take(now)
            sent.append(now)
    for first in sent:
        # Two times that the clock itself can't distinguish are no fault.
        assert sum(first <= other < first + 1.0 - 1e-6 for other in sent) <= 1.01 * rate + 1


def test_without_a_rate_nothing_waits() -> None:
    """0 means no limit."""
    pace = Pace(0.0)
    for _ in range(3):
        assert pace.wait(5.0) == 0.0
        pace.take(5.0)


def test_a_pace_does_not_save_up_for_later() -> None:
    """After a rest there is no burst."""
    pace = Pace(2.0)
    pace.take(10.0)
    assert pace.wait(10.0) == 0.5
    assert pace.wait(1000.0) == 0.0
    pace.take(1000.0)
    assert pace.wait(1000.0) == 0.5

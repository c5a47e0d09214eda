"""A tiny driver around `Link`: it begins tries, settles them and keeps each lane's streak."""

from dataclasses import dataclass, field

from shipper.policy.backoff import Backoff
from shipper.policy.blame import Try
from shipper.policy.delivery import Blame
from shipper.policy.link import Link
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.state import State

OK = Outcome(Kind.ACCEPTED, "accepted", status_code=200)
NO = Outcome(Kind.REFUSED, "http-422", "HTTP 422", 422)
LATER = Outcome(Kind.THROTTLED, "http-429", "HTTP 429", 429)
LOCKED = Outcome(Kind.MISCONFIGURED, "http-401", "HTTP 401", 401)
GONE = Outcome(Kind.TRANSIENT, "timeout", "no answer within 10 s")
BARE = Outcome(Kind.TRANSIENT, "closed")

OUTCOMES = (OK, NO, LATER, LOCKED, GONE)


def later(seconds: float) -> Outcome:
    """Return an answer that asks for a pause."""
    return Outcome(Kind.THROTTLED, "http-429", "HTTP 429", 429, retry_after=seconds)


@dataclass
class Bench:
    """A link on the bench. Chance is always 0, so a wait is `min_delay`, one second."""

    link: Link = field(default_factory=lambda: Link(8, Backoff(1.0, 60.0)))
    now: float = 100.0
    open: dict[int, str] = field(default_factory=dict)
    streaks: dict[str, int] = field(default_factory=dict)
    """Of each lane whose event has failed: the last try begun when that happened first."""

    def begin(self, lane: str) -> int:
        """Begin a try; whether it may begin is the caller's to have asked."""
        number = self.link.begin()
        self.open[number] = lane
        return number

    def blame(self, number: int, outcome: Outcome, chance: float = 0.0) -> Blame:
        """End a try, and keep the streak of its event as the dispatcher does."""
        lane = self.open.pop(number)
        if outcome.kind is Kind.ACCEPTED:
            self.link.accepted(number, lane, self.now)
            self.streaks.pop(lane, None)
            return Blame.NEITHER
        attempt = Try(number, lane, self.streaks.get(lane))
        blame = self.link.blame(attempt, outcome, self.now, chance)
        if outcome.kind is Kind.REFUSED and blame is Blame.EVENT:
            self.streaks.pop(lane, None)
        else:
            self.streaks.setdefault(lane, self.link.begun)
        return blame

    def state(self) -> State:
        """Return the link's state."""
        return self.link.state

    def go(self, lane: str, outcome: Outcome, chance: float = 0.0) -> Blame:
        """Make one whole try."""
        return self.blame(self.begin(lane), outcome, chance)

    def allowed(self) -> int:
        """Return how many tries may begin now."""
        return self.link.allowance(self.now, len(self.open))

    def wait(self) -> float:
        """Return the seconds until the next probe."""
        assert self.link.next_try_at is not None
        return self.link.next_try_at - self.now

    def probe(self, lane: str, outcome: Outcome, chance: float = 0.0) -> Blame:
        """Wait for the next probe's time, and make it."""
        assert self.link.is_down
        self.now = max(self.now, self.link.next_try_at or 0.0)
        assert self.allowed() == 1
        return self.go(lane, outcome, chance)


DOWN_BY = {State.OFFLINE: GONE, State.PAUSED: LOCKED, State.THROTTLED: later(30.0)}


def down(state: State, *, flying: int = 0) -> tuple[Bench, list[int]]:
    """Return a link that is down, and tries that were begun before it went down."""
    bench = Bench()
    late = [bench.begin(f"late{n}") for n in range(flying)]
    for n in range(5 if state is State.OFFLINE else 1):
        bench.go(f"down{n}", DOWN_BY[state])
    assert bench.state() is state
    return bench, late

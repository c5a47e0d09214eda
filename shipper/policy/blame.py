"""Whom a failure is charged to: the event, the link, or nobody. Pure: time comes in.

*Contrast* decides it for a transient or configuration failure. An event is charged only while the
link is ready, and only if since its first failure another event was begun *after* that failure and
accepted: then the receiver works, and this event is what it can't take. Without such a witness the
failure speaks about the link, and no event's budget is touched. A witness is believed for ten
minutes: an API that worked last night says nothing about this morning. No event is charged

- for a failure that came before the event had reached anybody;
- when five lanes fail one after the other with nothing accepted between: one answer that got
  through in the middle of an outage is a witness for every event that failed before it, and must
  not be believed against all of them;
- while so many lanes fail at the same time that the receiver is down in part. `crowd` has the
  rule of how ten failing lanes are told from one.

*News.* A failure speaks against the link only if no other event has been accepted that was begun
after it: timeouts that began together end together, five in a row, while all others are accepted.
Nor does one of a lane that is known to be on the side of a partial outage that is down.

*Suspicion.* The first 401, 403, 404 … of an event pauses the link, because it may well be about the
link; but not at once where another event was accepted within the last ten seconds: it may as well
be a firewall that dislikes one payload. Then three lanes in a row decide, or the same event again.

*A refusal* is the event's own matter at any time, until five lanes have been refused with nothing
accepted between: where fewer lanes have events, that many are never seen.

It must never charge a failure to an event while the link isn't ready. What follows for the link is
`link`'s to decide.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from shipper.policy.delivery import Blame
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.partial_outage import Crowd

FAILURES_TO_OFFLINE = 5
LANES_FAILING_TO_OFFLINE = 5
LANES_REFUSED_TO_PAUSE = 5
LANES_SUSPECTED_TO_PAUSE = 3
PROOF_SECONDS = 600.0
SUSPICION_SECONDS = 10.0


class Try(NamedTuple):
    """What has to be known of one try: its place in the order of begun tries, and whose it is.

    `first_failure` is the number of the try that had been begun last when this event failed for
    the first time in its present streak of failures; None if it hasn't failed yet.
    """

    number: int
    lane: str | int
    first_failure: int | None


class Judgement(NamedTuple):
    """Whom a failure is charged to, and whether the link is down for all we know."""

    blame: Blame
    is_down: bool = False


@dataclass(slots=True)
class Contrast:
    """What was accepted, and what failed since. Times are monotonic seconds."""

    crowd: Crowd = field(default_factory=Crowd)
    refuses_all: bool = False
    """Whether everything is refused: a refusal says nothing about an event."""
    lanes_refused: set[str | int] = field(default_factory=set)
    """Lanes with an event that was refused, since the last was accepted."""
    _accepted: int = 0  # the latest-begun try that was accepted
    _accepted_at: float = 0.0
    _before_outage: int = 0  # the try that was begun last when the link went down
    _failures: int = 0  # in a row, none of them charged to an event
    _failing: set[str | int] = field(default_factory=set)  # lanes, since the last was accepted

    def follow(self, before: "Contrast") -> None:
        """Know what another knew of the same receiver; tries are counted anew."""
        self.crowd, self.lanes_refused = before.crowd, before.lanes_refused
        self.refuses_all = before.refuses_all

    def accepted(self, attempt: Try, now: float) -> None:
        """Take in that an event was accepted."""
        if attempt.number > self._accepted:
            self._accepted, self._accepted_at = attempt.number, now
        self.crowd.ended(attempt.lane)
        self._failures = 0
        self._failing.clear()

    def link_went_down(self, begun: int) -> None:
        """Take in how many tries had begun by then: they say nothing about the link afterwards."""
        self._before_outage = begun

    def takes_again(self) -> None:
        """Take in that what was accepted speaks for the link as it is now: not all is refused."""
        self.refuses_all = False
        self.lanes_refused.clear()

    def refused(self, lane: str | int) -> Blame:
        """Return whom a refusal is charged to."""
        if not self.refuses_all:
            self.lanes_refused.add(lane)
            self.refuses_all = len(self.lanes_refused) >= LANES_REFUSED_TO_PAUSE
        return Blame.NEITHER if self.refuses_all else Blame.EVENT

    def failed(self, attempt: Try, outcome: Outcome, now: float, *, is_ready: bool) -> Judgement:
        """Judge a failure while the link isn't down; it may be ready or ramping."""
        if attempt.number <= self._before_outage:
            return Judgement(Blame.NEITHER)
        is_news = attempt.number > self._accepted
        is_news = is_news and not self.crowd.is_known(attempt.lane, outcome, now)
        self.crowd.failed(attempt.lane, outcome, now)
        if is_news:
            self._failing.add(attempt.lane)
        everywhere = len(self._failing) >= LANES_FAILING_TO_OFFLINE
        if self._has_proof(attempt, outcome, now) and not everywhere:
            charged = is_ready and not self.crowd.spares(outcome, now)
            return Judgement(Blame.EVENT if charged else Blame.NEITHER)
        if not is_news:
            return Judgement(Blame.LINK)
        self._failures += 1
        pauses = outcome.kind is Kind.MISCONFIGURED and not (
            is_ready and self._is_suspicion(attempt, outcome, now)
        )
        down = pauses or everywhere or self._failures >= FAILURES_TO_OFFLINE
        return Judgement(Blame.LINK, down)

    def _has_proof(self, attempt: Try, outcome: Outcome, now: float) -> bool:
        """Return whether the receiver works: another was begun after the event's first failure."""
        first = attempt.first_failure
        recent = now - self._accepted_at <= PROOF_SECONDS
        return outcome.reached and first is not None and self._accepted > first and recent

    def _is_suspicion(self, attempt: Try, outcome: Outcome, now: float) -> bool:
        """Return whether a failure that looks like the link's may well be this event's alone."""
        recent = self._accepted > 0 and now - self._accepted_at <= SUSPICION_SECONDS
        first = outcome.reached and attempt.first_failure is None
        return recent and first and len(self._failing) < LANES_SUSPECTED_TO_PAUSE

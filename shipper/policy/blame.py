"""Whom a failure is charged to: the event, the link, or neither. Pure: time comes in.

*Contrast* decides about a transient or configuration failure. An event is charged only while the
link is ready, and only with a proof that the receiver works: a try of another event began *after*
this event's first failure, and was accepted. Without a proof the failure speaks against the link,
and the event's budget stays as it is. A proof counts for ten minutes: an API
that worked last night may be down this morning. No event is charged

- for a failure before a byte of the event could reach the receiver;
- when five lanes fail one after the other with nothing accepted between them. A single acceptance
  in the middle of an outage would be a proof against every event that failed before it;
- while ten lanes or more fail at the same time: see `partial_outage`.

*News.* A failure speaks against the link only if no later try was accepted. Tries that begin
together time out together: five timeouts in a row say nothing if all later tries are accepted. Two
other failures say nothing new: a failure of a lane that a partial outage affects, and a failure of
a try that began before the link went down.

*Suspicion.* The first 401, 403, 404 … of an event usually pauses the link. It doesn't if another
event was accepted within the last ten seconds, because a firewall may reject this one payload. Then
the link pauses when three lanes in a row fail, or when the same event fails again.

*Refusals.* A refusal is charged to the event. When five lanes have been refused with nothing
accepted between them, everything is refused, and refusals are charged to no event. With fewer than
five lanes the daemon can't see this.

Five lanes that fail with nothing accepted between them, or five such failures in a row, mean that
the link is down. `link` decides which state follows. It must never charge a failure to an event
while the link isn't ready, unless it is a refusal.
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
    """One try: its number in the order in which tries begin, and its lane.

    `first_failure` is the number of the latest try that had begun when this event failed for the
    first time in its present streak of failures. It is None if the event hasn't failed yet.
    """

    number: int
    lane: str | int
    first_failure: int | None


class Judgement(NamedTuple):
    """Whom a failure is charged to, and whether it shows that the link is down."""

    blame: Blame
    is_down: bool = False


@dataclass(slots=True)
class Contrast:
    """What was accepted, and what failed since. Times are monotonic seconds."""

    crowd: Crowd = field(default_factory=Crowd)
    refuses_all: bool = False
    """Whether everything is refused: then a refusal says nothing about the event."""
    lanes_refused: set[str | int] = field(default_factory=set)
    """Lanes with an event that was refused since an event was last accepted."""
    _accepted: int = 0  # the latest-begun try that was accepted
    _accepted_at: float = 0.0
    _before_outage: int = 0  # the latest-begun try when the link went down
    _failures: int = 0  # in a row, none of them charged to an event
    _failing: set[str | int] = field(default_factory=set)  # lanes, since an event was last accepted

    def follow(self, before: "Contrast") -> None:
        """Take over what `before` knew about the same receiver; tries are counted from 0 again."""
        self.crowd, self.lanes_refused = before.crowd, before.lanes_refused
        self.refuses_all = before.refuses_all

    def accepted(self, number: int, lane: str | int, now: float) -> None:
        """Record that an event of a lane was accepted, by the try of this number."""
        if number > self._accepted:
            self._accepted, self._accepted_at = number, now
        self.crowd.ended(lane)
        self._failures = 0
        self._failing.clear()

    def link_went_down(self, begun: int) -> None:
        """Record that tries up to number `begun` say nothing about the link from now on."""
        self._before_outage = begun

    def takes_again(self) -> None:
        """Record that the link accepts events now: not everything is refused."""
        self.refuses_all = False
        self.lanes_refused.clear()

    def refused(self, lane: str | int) -> Blame:
        """Return whom a refusal is charged to."""
        if not self.refuses_all:
            self.lanes_refused.add(lane)
            self.refuses_all = len(self.lanes_refused) >= LANES_REFUSED_TO_PAUSE
        return Blame.NEITHER if self.refuses_all else Blame.EVENT

    def failed(self, attempt: Try, outcome: Outcome, now: float, *, is_ready: bool) -> Judgement:
        """Judge a failure. The link isn't down: it is ready (`is_ready`) or ramping."""
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
        """Return whether a try that began after the event's first failure was accepted."""
        first = attempt.first_failure
        recent = now - self._accepted_at <= PROOF_SECONDS
        return outcome.reached and first is not None and self._accepted > first and recent

    def _is_suspicion(self, attempt: Try, outcome: Outcome, now: float) -> bool:
        """Return whether a failure that looks like the link's may be this event's alone."""
        recent = self._accepted > 0 and now - self._accepted_at <= SUSPICION_SECONDS
        first = outcome.reached and attempt.first_failure is None
        return recent and first and len(self._failing) < LANES_SUSPECTED_TO_PAUSE

"""How a destination is doing, and whom a failure is charged to. Pure: time and chance come in.

    ready ──five failures in a row, none charged to an event──▶ offline ─┐
      │ ──401, 403, 404, 3xx, TLS …, or everything is refused──▶ paused ─┤ probes, one at a time
      │ ──429, 503 with Retry-After────────────────────────▶ throttled ─┤
      ◀──limit reached, or nothing left to hold back── ramping ◀─accepted┘
    held: an operator's word, over any of these

*Contrast* decides the blame for a transient or configuration failure. An event is charged only
while the link is ready, and only if since its first failure another event was begun *after* that
failure and accepted: then the receiver works, and this event is what it can't take. Without
such a witness the failure speaks about the link, and no event's budget is touched. A witness is
believed for ten minutes: an API that worked last night says nothing about this morning. No event
is charged for a failure that came before the event had reached anybody, nor when five lanes fail
one after the other with nothing accepted between: one answer that got through in the middle of an
outage is a witness for every event that failed before it, and must not be believed against all of
them.

A refusal is the event's own matter at any time, until five lanes have been refused with nothing
accepted between: where fewer lanes have events, that many are never seen.

It must never charge a failure to an event while the link isn't ready, and never let a link that is
down cost more than one request at a time.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from shipper.backoff import Backoff
from shipper.delivery import Blame
from shipper.failing import Failing, describe
from shipper.outcome import Kind, Outcome
from shipper.state import State

FAILURES_TO_OFFLINE = 5
LANES_FAILING_TO_OFFLINE = 5
LANES_REFUSED_TO_PAUSE = 5
WITNESS_SECONDS = 600.0
EVERYTHING_REFUSED = "everything is refused"

_PROBED = frozenset({State.OFFLINE, State.PAUSED})
_DOWN = _PROBED | {State.THROTTLED}


class Try(NamedTuple):
    """What the link has to know of one try: its place in the order of begun tries, and whose it is.

    `first_failure` is the number of the try that had been begun last when this event failed for
    the first time in its present streak of failures; None if it hasn't failed yet.
    """

    number: int
    lane: str | int
    first_failure: int | None


@dataclass(slots=True)
class Pace:
    """Spaces requests so that no second sees more than `rate` of them; 0 means no limit.

    What a hundredth of a second allows may go out together: a daemon doesn't wake more often.
    """

    rate: float
    _next: float = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start; 0 when it may now."""
        return max(0.0, self._next - now) if self.rate else 0.0

    def rest(self, until: float) -> None:
        """Let nothing start before that, for the requests that another has counted."""
        self._next = max(self._next, until)

    def take(self, now: float) -> None:
        """Count one request begun now."""
        if self.rate:
            saved = max(0.0, 0.01 - 1.0 / self.rate)
            self._next = max(self._next, now - saved) + 1.0 / self.rate


@dataclass(slots=True)
class Link:
    """The state of one destination. Times are monotonic seconds; its owner is the dispatcher."""

    max_in_flight: int
    probe_backoff: Backoff
    state: State = State.READY
    reason: str | None = None
    since: float = 0.0
    next_try_at: float | None = None
    held: bool = False
    outage: int = 0
    """Number of the present (or last) time that the link was down; history has one row for each."""
    begun: int = 0
    failing: Failing = field(default_factory=Failing)
    _accepted: int = 0  # the latest-begun try that was accepted
    _accepted_at: float = 0.0
    _before_outage: int = 0  # the try that was begun last when the link went down
    _failures: int = 0  # in a row, none of them charged to an event
    _probes: int = 0  # failed in a row
    _quiet_until: float = 0.0  # the destination asked for a pause until then
    _probe: int | None = None  # the try that is the probe under way
    _ramp: int = 1
    _ramp_left: int = 1
    _failing: set[str | int] = field(default_factory=set)  # lanes, since the last was accepted
    _refused: set[str | int] = field(default_factory=set)
    _refusing: bool = False  # everything is refused: a refusal says nothing about an event

    def resume(self, state: State, reason: str | None, *, since: float, until: float) -> None:
        """Go on where an earlier process stopped, if the link was down; monotonic seconds.

        A pause that the destination asked for ends when it said (`until`); the rest is probed at
        once.
        """
        if state in _DOWN:
            self.state, self.reason, self.since = state, reason, since
            self.outage += 1
            self.next_try_at = until if state is State.THROTTLED else None
            self._quiet_until = self.next_try_at or 0.0
            # Else the refusals of each new process would be the events' own fault again.
            self._refusing = reason == EVERYTHING_REFUSED

    @property
    def shown(self) -> State:
        """Return the state with the operator's word over it."""
        return State.HELD if self.held else self.state

    @property
    def is_down(self) -> bool:
        """Return whether only probes may go out."""
        return self.state in _DOWN

    @property
    def next_try(self) -> float | None:
        """Return when the next try is due: the next probe, or the first of what has failed."""
        return self.next_try_at if self.is_down else self.failing.next_try_at

    def allowance(self, now: float, in_flight: int) -> int:
        """Return how many tries may begin now."""
        if self.held:
            return 0
        if self.is_down:
            due = self.next_try_at is None or now >= self.next_try_at
            return 1 if due and self._probe is None else 0
        limit = self._ramp if self.state is State.RAMPING else self.max_in_flight
        return max(0, limit - in_flight)

    def next_probe(self) -> float | None:
        """Return when the next probe may go out, if the link is down and none is under way."""
        return self.next_try_at if self.is_down and self._probe is None else None

    def begin(self) -> int:
        """Return the number of the try that begins now; while the link is down it is the probe."""
        self.begun += 1
        if self.is_down:
            self._probe = self.begun
        return self.begun

    def settle(self, attempt: Try, outcome: Outcome, now: float, chance: float) -> Blame:
        """Take in what a try meant, and return whom it is charged to."""
        was_probe = attempt.number == self._probe
        if was_probe:
            self._probe = None
        if outcome.kind is Kind.ACCEPTED:
            self.failing.worked()
        else:
            self.failing.failed(outcome, now)
        match outcome.kind:
            case Kind.ACCEPTED:
                self._accept(attempt, was_probe, now)
                return Blame.NOBODY
            case Kind.REFUSED:
                return self._refuse(attempt, was_probe, now, chance)
            case Kind.THROTTLED:
                self._throttle(outcome, was_probe, now, chance)
                return Blame.NOBODY
            case _:
                return self._fail(attempt, outcome, was_probe, now, chance)

    def abandon(self, number: int) -> None:
        """Forget a try that ended without any outcome (it was cut off by a stop)."""
        if number == self._probe:
            self._probe = None

    def probe_at_once(self, now: float) -> None:
        """Let the next probe go out now: an operator, or a new credential, says it may work.

        Not before the end of a pause that was asked for: that is the destination's own word.
        """
        if self.state in _PROBED:
            self.next_try_at = max(now, self._quiet_until)

    def relax(self, wanted: int, now: float) -> None:
        """End the ramp where it holds nothing back any more: `wanted` tries are all there is."""
        if self.state is State.RAMPING and wanted < self._ramp:
            self._enter(State.READY, None, now)

    def _accept(self, attempt: Try, was_probe: bool, now: float) -> None:  # noqa: FBT001
        if attempt.number > self._accepted:
            self._accepted, self._accepted_at = attempt.number, now
        self._failures = 0
        self._failing.clear()
        if self.is_down:
            # One that was begun before the link went down proves nothing about it now.
            if was_probe and now >= self._quiet_until:
                self._refusing = False
                self._refused.clear()
                self._ramp = self._ramp_left = 1
                self._enter(State.RAMPING, None, now)
            return
        self._refused.clear()
        if self.state is State.RAMPING:
            self._widen(now)

    def _widen(self, now: float) -> None:
        self._ramp_left -= 1
        if self._ramp_left <= 0:
            self._ramp *= 2
            self._ramp_left = self._ramp
        if self._ramp >= self.max_in_flight:
            self._enter(State.READY, None, now)

    def _refuse(self, attempt: Try, was_probe: bool, now: float, chance: float) -> Blame:  # noqa: FBT001
        if not self._refusing:
            self._refused.add(attempt.lane)
            if len(self._refused) < LANES_REFUSED_TO_PAUSE:
                # An answer about the event: the link works after all. The time of the probe has
                # come, so another event is asked at once.
                return Blame.EVENT
            self._refusing = True
        # A late answer must not move the next probe of a link that is down already.
        if was_probe or not self.is_down:
            self._go_down(State.PAUSED, EVERYTHING_REFUSED, now, chance)
        return Blame.NOBODY

    def _throttle(self, outcome: Outcome, was_probe: bool, now: float, chance: float) -> None:  # noqa: FBT001
        self._quiet_until = max(self._quiet_until, now + (outcome.retry_after or 0.0))
        if not self.is_down or was_probe:
            # "Retry after no time at all" would be a probe after the other without a rest.
            self._go_down(State.THROTTLED, outcome.told, now, chance, outcome.retry_after)
        else:
            self.next_try_at = max(self.next_try_at or 0.0, self._quiet_until)

    def _fail(
        self,
        attempt: Try,
        outcome: Outcome,
        was_probe: bool,  # noqa: FBT001
        now: float,
        chance: float,
    ) -> Blame:
        down = State.PAUSED if outcome.kind is Kind.MISCONFIGURED else State.OFFLINE
        if self.is_down:
            if was_probe:
                reason = EVERYTHING_REFUSED if self._refusing else describe(outcome)
                self._go_down(State.PAUSED if self._refusing else down, reason, now, chance)
            return Blame.NOBODY
        if attempt.number <= self._before_outage:
            return Blame.NOBODY  # begun before the outage: it says nothing about the link now
        self._failing.add(attempt.lane)
        everywhere = len(self._failing) >= LANES_FAILING_TO_OFFLINE
        first = attempt.first_failure
        recent = now - self._accepted_at <= WITNESS_SECONDS
        witness = outcome.reached and first is not None and self._accepted > first and recent
        if witness and not everywhere:
            return Blame.EVENT if self.state is State.READY else Blame.NOBODY
        self._failures += 1
        if down is State.PAUSED or everywhere or self._failures >= FAILURES_TO_OFFLINE:
            self._go_down(down, describe(outcome), now, chance)
        return Blame.LINK

    def _go_down(
        self, state: State, reason: str, now: float, chance: float, wait: float | None = None
    ) -> None:
        if not self.is_down:
            self.outage += 1
            self._before_outage = self.begun
            self._probes = 0
        self._probes += 1
        self._enter(state, reason, now)
        wait = wait or self.probe_backoff.delay(self._probes, chance)
        self.next_try_at = max(now + wait, self._quiet_until)

    def _enter(self, state: State, reason: str | None, now: float) -> None:
        if state is not self.state:
            self.since = now
        self.state = state
        self.reason = reason
        if state not in _DOWN:
            self.next_try_at = None

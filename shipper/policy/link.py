"""How a destination is doing, and how many tries may begin. Pure: time and chance come in.

    ready ──five failures in a row, none charged to an event──▶ offline ─┐
      │ ──401, 403, 404, 3xx, TLS …, or everything is refused──▶ paused ─┤ probes, one at a time
      │ ──429, 503 with Retry-After────────────────────────▶ throttled ─┤
      ◀──limit reached, or nothing left to hold back── ramping ◀─accepted┘
    held: an operator's word, over any of these

Whom a failure is charged to, and whether it speaks against the link, is `blame`'s to decide.

A pause that the destination asks for is kept, for an hour at a time: then one probe asks whether it
still holds. An operator's release ends it.

It must never let a link that is down cost more than one request at a time, and never charge an
event for what came of a probe but a refusal.
"""

from dataclasses import dataclass, field

from shipper.policy.backoff import Backoff
from shipper.policy.blame import Contrast, Try
from shipper.policy.delivery import Blame
from shipper.policy.failing import Failing, describe
from shipper.policy.outcome import Kind, Outcome
from shipper.policy.state import State

ASKED_AGAIN_EVERY = 3600.0
EVERYTHING_REFUSED = "everything is refused"

_PROBED = frozenset({State.OFFLINE, State.PAUSED})
_DOWN = _PROBED | {State.THROTTLED}


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
    contrast: Contrast = field(default_factory=Contrast)
    _probes: int = 0  # failed in a row
    _quiet_until: float = 0.0  # the destination asked for a pause until then
    _probe: int | None = None  # the try that is the probe under way
    _ramp: int = 1
    _ramp_left: int = 1

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
            self.contrast.refuses_all = reason == EVERYTHING_REFUSED

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

    def blame(self, attempt: Try, outcome: Outcome, now: float, chance: float) -> Blame:
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
                return Blame.NEITHER
            case Kind.REFUSED:
                return self._refuse(attempt, was_probe, now, chance)
            case Kind.THROTTLED:
                self._throttle(outcome, was_probe, now, chance)
                return Blame.NEITHER
            case _:
                return self._fail(attempt, outcome, was_probe, now, chance)

    def abandon(self, number: int) -> None:
        """Forget a try that ended without any outcome (it was cut off by a stop)."""
        if number == self._probe:
            self._probe = None

    def probe_at_once(self, now: float) -> None:
        """Let the next probe go out now: a new credential, or another event, says it may work.

        Not before the end of a pause that was asked for: that is the destination's own word.
        """
        if self.state in _PROBED:
            self.next_try_at = max(now, self._quiet_until)

    def release(self, now: float) -> None:
        """Let the next probe go out now, whatever was asked for: an operator says so."""
        self._quiet_until = min(self._quiet_until, now)
        if self.is_down:
            self.next_try_at = now

    def relax(self, wanted: int, now: float) -> None:
        """End the ramp where it holds nothing back any more: `wanted` tries are all there is."""
        if self.state is State.RAMPING and wanted < self._ramp:
            self._enter(State.READY, None, now)

    def _accept(self, attempt: Try, was_probe: bool, now: float) -> None:  # noqa: FBT001
        self.contrast.accepted(attempt, now)
        if self.is_down:
            # One that was begun before the link went down proves nothing about it now.
            if was_probe and now >= self._quiet_until:
                self.contrast.takes_again()
                self._ramp = self._ramp_left = 1
                self._enter(State.RAMPING, None, now)
            return
        self.contrast.takes_again()
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
        blame = self.contrast.refused(attempt.lane)
        # Of one event it says that the link works after all: the time of the probe has come, so
        # another is asked at once. Of all: a late answer must not move the next probe.
        if blame is Blame.NEITHER and (was_probe or not self.is_down):
            self._go_down(State.PAUSED, EVERYTHING_REFUSED, now, chance)
        return blame

    def _throttle(self, outcome: Outcome, was_probe: bool, now: float, chance: float) -> None:  # noqa: FBT001
        asked = min(outcome.retry_after or 0.0, ASKED_AGAIN_EVERY)
        self._quiet_until = max(self._quiet_until, now + asked)
        if not self.is_down or was_probe:
            # "Retry after no time at all" would be a probe after the other without a rest.
            self._go_down(State.THROTTLED, outcome.reason, now, chance, asked)
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
                refusing = self.contrast.refuses_all
                reason = EVERYTHING_REFUSED if refusing else describe(outcome)
                self._go_down(State.PAUSED if refusing else down, reason, now, chance)
            return Blame.NEITHER
        ready = self.state is State.READY
        blame, is_down = self.contrast.failed(attempt, outcome, now, is_ready=ready)
        if is_down:
            self._go_down(down, describe(outcome), now, chance)
        return blame

    def _go_down(
        self, state: State, reason: str, now: float, chance: float, wait: float | None = None
    ) -> None:
        if not self.is_down:
            self.outage += 1
            self.contrast.link_went_down(self.begun)
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

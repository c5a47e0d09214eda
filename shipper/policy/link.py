"""How a destination is doing, and how many tries can begin. Pure: time and chance come in.

    ready ──five failures in a row, none charged to an event──▶ offline ─┐
      │ ──401, 403, 404, 3xx, TLS …, or everything is refused──▶ paused ─┤ probes, one at a time
      │ ──429, 503 with Retry-After────────────────────────▶ throttled ─┤
      ◀──limit reached, or nothing left to hold back── ramping ◀─accepted┘
    held: an operator has held the destination, whatever its state

`blame` decides whom a failure is charged to, and whether it speaks against the link.

If the destination asks for a pause, the link sends nothing until the pause is over. During a long
pause one probe an hour asks whether the pause still holds. An operator's release ends the pause.
If several daemons share the destination, each judges by what it sees, and probes for itself. All
that see it down probe together as often as one would, so each waits longer. Thus when another one
has got through, they probe at once; a pause that the destination asked for is over first.

While the link is down, it must never allow more than one request at a time. Of the outcomes of
probes, it must charge only a refusal to the event.
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
    """The state of one destination. Times are in monotonic seconds."""

    max_in_flight: int
    """This daemon's part of the destination's limit; it changes with the daemon's shards."""
    probe_backoff: Backoff
    state: State = State.READY
    reason: str | None = None
    since: float = 0.0
    next_try_at: float | None = None
    held: bool = False
    outage: int = 0
    """The number of the present outage, or of the last; the history has one row for each."""
    begun: int = 0
    """How many tries have begun; also the number of the latest one."""
    failing: Failing = field(default_factory=Failing)
    contrast: Contrast = field(default_factory=Contrast)
    daemons: int = 1
    """How many daemons share the destination; each that sees it down probes it."""
    _up_elsewhere: frozenset[int] = frozenset()  # daemons that saw it up at this outage's last look
    _probes: int = 0  # failed in a row
    _quiet_until: float = 0.0  # until when the destination asked for a pause
    _probe: int | None = None  # the try that is the probe under way
    _ramp: int = 1
    _ramp_left: int = 1

    def resume(self, state: State, reason: str | None, *, since: float, until: float) -> None:
        """Continue an outage of an earlier process; do nothing if the link wasn't down.

        A pause that the destination asked for ends at `until`. After any other outage the link is
        probed at once. Times are in monotonic seconds.
        """
        if state in _DOWN:
            self.state, self.reason, self.since = state, reason, since
            self.outage += 1
            self.next_try_at = until if state is State.THROTTLED else None
            self._quiet_until = self.next_try_at or 0.0
            # Otherwise each new process would charge the first refusals to their events again.
            self.contrast.refuses_all = reason == EVERYTHING_REFUSED

    @property
    def shown(self) -> State:
        """Return the state for people: HELD if an operator has held the destination."""
        return State.HELD if self.held else self.state

    @property
    def is_down(self) -> bool:
        """Return whether only probes can be sent."""
        return self.state in _DOWN

    @property
    def next_try(self) -> float | None:
        """Return when the next probe is due, or the next try of an event that failed."""
        return self.next_try_at if self.is_down else self.failing.next_try_at

    def allowance(self, now: float, in_flight: int) -> int:
        """Return how many tries can begin now."""
        if self.held:
            return 0
        if self.is_down:
            due = self.next_try_at is None or now >= self.next_try_at
            return 1 if due and self._probe is None else 0
        limit = self.max_in_flight
        if self.state is State.RAMPING:
            limit = min(limit, self._ramp)
        return max(0, limit - in_flight)

    def next_probe(self) -> float | None:
        """Return when the next probe is due; None if a probe is in flight or the link is up."""
        return self.next_try_at if self.is_down and self._probe is None else None

    def begin(self) -> int:
        """Count a try that begins now, a probe if the link is down; return the try's number."""
        self.begun += 1
        if self.is_down:
            self._probe = self.begun
        return self.begun

    def blame(self, attempt: Try, outcome: Outcome, now: float, chance: float) -> Blame:
        """Record a failed try, and return whom the failure is charged to."""
        was_probe = attempt.number == self._probe
        if was_probe:
            self._probe = None
        self.failing.failed(outcome, now)
        match outcome.kind:
            case Kind.REFUSED:
                return self._refuse(attempt, was_probe, now, chance)
            case Kind.THROTTLED:
                self._throttle(outcome, was_probe, now, chance)
                return Blame.NEITHER
            case _:
                return self._fail(attempt, outcome, was_probe, now, chance)

    def accepted(self, number: int, lane: str | int, now: float) -> None:
        """Record that an event of a lane was accepted, by the try of this number."""
        was_probe = number == self._probe
        if was_probe:
            self._probe = None
        self.failing.worked()
        self.contrast.accepted(number, lane, now)
        if self.state is State.READY:
            self.contrast.takes_again()
        elif self.state is State.RAMPING:
            self.contrast.takes_again()
            self._widen(now)
        # A try that began before the link went down proves nothing about the link now.
        elif was_probe and now >= self._quiet_until:
            self.contrast.takes_again()
            self._ramp = self._ramp_left = 1
            self._enter(State.RAMPING, None, now)

    def abandon(self, number: int) -> None:
        """Forget a try that a stop of the daemon cut off: it has no outcome."""
        if number == self._probe:
            self._probe = None

    def probe_at_once(self, now: float) -> None:
        """Make the next probe due now: a new credential may work, or another event may pass.

        A pause that the destination asked for is kept.
        """
        if self.state in _PROBED:
            self.next_try_at = max(now, self._quiet_until)

    def hear(self, up: frozenset[int], now: float) -> bool:
        """Take which other daemons see the destination up; probe at once if one more does.

        A pause that the destination asked for is kept, but no wait beyond it. Each of them brings
        at most one probe in an outage, and one more after it was down itself. This one's next waits
        are shorter, because they don't probe. Return whether there is one more.
        """
        has_news = not up <= self._up_elsewhere
        self._up_elsewhere = up
        if has_news and self.is_down:
            self.next_try_at = max(now, self._quiet_until)
        return has_news

    def release(self, now: float) -> None:
        """Make the next probe due now, because an operator says so; end any pause."""
        self._quiet_until = min(self._quiet_until, now)
        if self.is_down:
            self.next_try_at = now

    def relax(self, wanted: int, now: float) -> None:
        """End the ramp if it allows more tries than `wanted`: there are no more events to send."""
        if self.state is State.RAMPING and wanted < self._ramp:
            self._enter(State.READY, None, now)

    def _widen(self, now: float) -> None:
        self._ramp_left -= 1
        if self._ramp_left <= 0:
            self._ramp *= 2
            self._ramp_left = self._ramp
        if self._ramp >= self.max_in_flight:
            self._enter(State.READY, None, now)

    def _refuse(self, attempt: Try, was_probe: bool, now: float, chance: float) -> Blame:  # noqa: FBT001
        blame = self.contrast.refused(attempt.lane)
        # A single refused event shows that the link works: `next_try_at` has passed, so the next
        # probe goes out at once. If everything is refused, only a probe moves the next probe.
        if blame is Blame.NEITHER and (was_probe or not self.is_down):
            self._go_down(State.PAUSED, EVERYTHING_REFUSED, now, chance)
        return blame

    def _throttle(self, outcome: Outcome, was_probe: bool, now: float, chance: float) -> None:  # noqa: FBT001
        asked = min(outcome.retry_after or 0.0, ASKED_AGAIN_EVERY)
        self._quiet_until = max(self._quiet_until, now + asked)
        if not self.is_down or was_probe:
            # `Retry-After: 0` must not lead to probes without a wait between them.
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
            self._up_elsewhere = frozenset()
        self._probes += 1
        self._enter(state, reason, now)
        self.next_try_at = max(now + self._probe_wait(chance, wait), self._quiet_until)

    def _probe_wait(self, chance: float, asked: float | None) -> float:
        """Return how long to wait before the next probe, at least the `asked` seconds of a pause.

        Each daemon that sees the destination down probes for itself. Its waits grow on to as many
        times the longest wait as there are such daemons, so that all of them together ask as often
        as one would. If the destination asks for a short pause, one alone would ask again after it:
        then they grow to as many times that pause, and no further.
        """
        probing = max(1, self.daemons - len(self._up_elsewhere))
        alone = self.probe_backoff
        wait = Backoff(alone.min_delay, alone.max_delay * probing).delay(self._probes, chance)
        return max(asked, min(wait, asked * probing)) if asked else wait

    def _enter(self, state: State, reason: str | None, now: float) -> None:
        if state is not self.state:
            self.since = now
        self.state = state
        self.reason = reason
        if state not in _DOWN:
            self.next_try_at = None

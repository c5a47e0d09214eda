"""What becomes of an event after a try: the state machine, and its only legal moves. Pure.

    pending ──accepted──▶ delivered
       │  ▲──not charged, or charged with budget left── (stays pending, waits)
       ├────refused, or budget spent──▶ dead ──an operator──▶ pending | discarded
       └────an operator──▶ discarded

Nothing here ends an event by time alone, and only an answer about the event, or a failure that
`Link` charged to it, moves it towards `dead`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from shipper.policy.backoff import Backoff
from shipper.policy.outcome import Kind, Outcome


class Status(Enum):
    """The `status` column."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"


class Blame(Enum):
    """Whom a failure is charged to."""

    EVENT = "event"
    LINK = "link"
    NEITHER = "neither"


class Verdict(NamedTuple):
    """What to write about an event. `wait` is in seconds, for one that stays pending."""

    status: Status
    attempts: int
    wait: float = 0.0
    charged: bool = False
    maybe_received: bool = False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how far apart: `max_attempts` counts only what was charged to the event."""

    backoff: Backoff
    probe_backoff: Backoff
    max_attempts: int

    def due_in(self, next_attempt_at: float | None, wall: float) -> float:
        """Return the seconds until a row with this time is tried again; 0 for now.

        None waits for longer than the longest wait there is: then the clock was set back since it
        was written, or somebody wrote it by hand.
        """
        if next_attempt_at is None:
            return 0.0
        wait = next_attempt_at - wall
        longest = max(self.backoff.max_delay, self.probe_backoff.max_delay)
        return max(wait, 0.0) if wait <= longest else 0.0


def verdict_of(
    outcome: Outcome,
    blame: Blame,
    *,
    attempts: int,
    maybe_received: bool,
    streak: int,
    policy: RetryPolicy,
    chance: float,
) -> Verdict:
    """Return what becomes of an event that had so many charged `attempts` before this try.

    `maybe_received` is of the tries before; `streak` counts this event's failures in a row, this
    one included, charged or not; `chance` is in [0, 1).
    """
    if outcome.kind is Kind.ACCEPTED:
        return delivered(attempts)
    received = maybe_received or outcome.maybe_received
    if outcome.kind is Kind.REFUSED and blame is Blame.EVENT:
        # 409 can mean "I have it already", said about a try whose answer never came.
        if outcome.status_code == 409 and maybe_received:
            return postponed(attempts, policy.backoff.delay(streak, chance), maybe_received=False)
        return dead_letter(attempts)
    if blame is not Blame.EVENT:
        wait = policy.probe_backoff.delay(streak, chance)
        return postponed(attempts, wait, maybe_received=received)
    if attempts + 1 >= policy.max_attempts:
        return dead_letter(attempts + 1)
    wait = policy.backoff.delay(attempts + 1, chance)
    return postponed(attempts + 1, wait, charged=True, maybe_received=received)


def delivered(attempts: int) -> Verdict:
    """Return the end that every event is meant for."""
    return Verdict(Status.DELIVERED, attempts)


def postponed(
    attempts: int, wait: float, *, charged: bool = False, maybe_received: bool
) -> Verdict:
    """Return that the event stays where it is, first of its lane, for `wait` seconds at least."""
    return Verdict(Status.PENDING, attempts, wait, charged, maybe_received)


def dead_letter(attempts: int) -> Verdict:
    """Return that the event is a dead letter."""
    return Verdict(Status.DEAD, attempts)

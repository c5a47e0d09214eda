"""What becomes of an event after a try: the state machine, and its only legal moves. Pure.

    pending ──accepted──▶ delivered
       │  ▲──not charged, or charged with budget left── (stays pending, waits)
       ├────refused, or budget spent──▶ dead ──an operator──▶ pending | discarded
       └────an operator──▶ discarded

It must never end an event because of time alone. Only an answer about the event, or a failure that
`Link` charged to it, moves the event towards `dead`.
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

    # A member is the only one with its name; Enum would hash the name, which costs a call.
    __hash__ = object.__hash__


class Blame(Enum):
    """Whom a failure is charged to."""

    EVENT = "event"
    LINK = "link"
    NEITHER = "neither"


class Verdict(NamedTuple):
    """What to write about an event. `wait` is in seconds, for an event that stays pending."""

    status: Status
    attempts: int
    wait: float = 0.0
    charged: bool = False
    maybe_received: bool = False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an event is tried, and how far apart.

    `max_attempts` limits the failures that are charged to an event.
    """

    backoff: Backoff
    probe_backoff: Backoff
    max_attempts: int

    def due_in(self, next_attempt_at: float | None, attempts: int, wall: float) -> float:
        """Return the seconds until a row with `next_attempt_at` is due; 0 if it is due now.

        Times are in seconds since 1970. A wait longer than any after so many charged failures
        counts as 0: the clock was set back since the row was written, it was written by the clock
        of another machine, or by hand.
        """
        if next_attempt_at is None:
            return 0.0
        wait = next_attempt_at - wall
        longest = max(self.backoff.longest(attempts), self.probe_backoff.max_delay)
        return max(wait, 0.0) if wait <= longest else 0.0


_AT_ONCE = Verdict(Status.DELIVERED, 0)


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
    """Return what becomes of an event after a try.

    `attempts` and `maybe_received` are the event's values before this try. `streak` counts the
    event's failures in a row, charged or not, with this one. `chance` is in [0, 1).
    """
    if outcome.kind is Kind.ACCEPTED:
        return delivered(attempts)
    received = maybe_received or outcome.maybe_received
    if outcome.kind is Kind.REFUSED and blame is Blame.EVENT:
        # 409 can mean "I have it already", from an earlier try whose answer never came.
        if outcome.status_code == 409 and maybe_received:
            wait = policy.probe_backoff.delay(streak, chance)
            return postponed(attempts, wait, maybe_received=False)
        return dead_letter(attempts)
    if blame is not Blame.EVENT:
        wait = policy.probe_backoff.delay(streak, chance)
        return postponed(attempts, wait, maybe_received=received)
    if attempts + 1 >= policy.max_attempts:
        return dead_letter(attempts + 1)
    wait = policy.backoff.delay(attempts + 1, chance)
    return postponed(attempts + 1, wait, charged=True, maybe_received=received)


def delivered(attempts: int) -> Verdict:
    """Return the verdict that the event is delivered."""
    return Verdict(Status.DELIVERED, attempts) if attempts else _AT_ONCE


def postponed(
    attempts: int, wait: float, *, charged: bool = False, maybe_received: bool
) -> Verdict:
    """Return the verdict that the event stays first in its lane and waits for `wait` seconds."""
    return Verdict(Status.PENDING, attempts, wait, charged, maybe_received)


def dead_letter(attempts: int) -> Verdict:
    """Return the verdict that the event is a dead letter."""
    return Verdict(Status.DEAD, attempts)

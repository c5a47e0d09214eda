"""The values that a route exchanges with the dispatcher: terms, questions and ended tries.

These classes are plain values: they must never decide anything.
"""

from dataclasses import dataclass
from typing import NamedTuple

from shipper.advice import NOWHERE, DestinationPlace
from shipper.policy.delivery import RetryPolicy
from shipper.policy.lanes import Lane
from shipper.policy.outcome import Outcome
from shipper.store.drain.messages import Look, Record


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of a destination, in seconds; `max_rate` is in requests a second, 0 for any."""

    policy: RetryPolicy
    timeout: float
    max_in_flight: int
    max_rate: float
    holds_dead: bool
    place: DestinationPlace = NOWHERE
    """The file, section and host that advice about it names."""


class Ended(NamedTuple):
    """A try whose outcome is to be recorded; `due` is when its lane goes on, None for at once."""

    lane: Lane
    record: Record
    outcome: Outcome
    due: float | None
    newly_received: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Question:
    """A look that a route needs: at a lane, at the next part of a sweep, or at the tail."""

    look: Look
    lane: Lane | None = None
    is_sweep: bool = False
    only_if_fresh: bool = False

"""What a route is made of and speaks of: its terms, its scan, its questions, its outcomes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from shipper.advice import NOWHERE, Place
from shipper.delivery import RetryPolicy
from shipper.lane import Lane
from shipper.outcome import Outcome
from shipper.store.work import Look, Record

if TYPE_CHECKING:
    from shipper.dispatcher.route import Route


@dataclass(frozen=True, slots=True)
class Terms:
    """How a destination is to be treated. Seconds; `max_rate` in requests a second, 0 for any."""

    policy: RetryPolicy
    timeout: float
    max_in_flight: int
    max_rate: float
    holds_dead: bool
    place: Place = NOWHERE
    """What advice about it has to name."""


class Settled(NamedTuple):
    """A try whose outcome is to be recorded; `due` is when its lane may go on, None for at once."""

    lane: Lane
    record: Record
    outcome: Outcome
    due: float | None
    newly_received: bool
    seconds: float


@dataclass(slots=True)
class Scan:
    """How far the look-ahead has come: first what may have been received, then everything."""

    kind: Literal["maybe_received", "pending"] = "maybe_received"
    after: int = 0
    at_end: bool = False
    epoch: int = 0  # a page that was asked for before the scan began anew is void

    def restart(self) -> None:
        """Begin anew: something may have come back in below."""
        self.kind, self.after, self.at_end = "maybe_received", 0, False
        self.epoch += 1


@dataclass(frozen=True, slots=True)
class Question:
    """A look that a route asks for, and what it needs to take in the answer."""

    look: Look
    epoch: int
    lane: Lane | None = None
    only_if_fresh: bool = False


class Asked(NamedTuple):
    """A question, and the route that asks it."""

    route: "Route"
    question: Question

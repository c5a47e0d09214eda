"""What the drain has done since its session began, in plain numbers; others read, this only counts.

It counts what is recorded already. It must cost next to nothing for an event, and never know the
name of a key or of an event: its size is that of the configuration, however long it runs.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shipper.drain.terms import Ended
from shipper.policy.delivery import Status

# Upper bounds in seconds; above the last one everything is alike.
LATENCY_BOUNDS: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
    21600.0, 86400.0,
)  # fmt: skip
TURN_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

# A receiver chooses its status codes; what is met after so many outcomes is just another one.
OUTCOMES_MAX: Final = 64
OTHER: Final = "other"


class Histogram:
    """Counts values by the bound that they don't exceed."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """The sum of all values."""

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of a destination's tries so far.

    Latencies are in seconds, from when an event was written to when its delivery was answered.
    """

    delivered: int
    retried: int
    """Tries after which the event stays pending."""
    dead: int
    latency_sum: float
    latency_count: int
    latency_max: float
    """The longest one since somebody last let it begin anew."""


@dataclass(slots=True)
class Counts:
    """What is counted of one destination. `seconds` is what all tries took together."""

    tries: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    seconds: float = 0.0
    latency: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS))
    latency_max: float = 0.0

    def meet(self, cause: str) -> None:
        """Count a try by its outcome."""
        tries = self.tries
        if cause in tries:
            tries[cause] += 1
        else:
            known = cause if len(tries) < OUTCOMES_MAX else OTHER
            tries[known] = tries.get(known, 0) + 1

    def took(self, latency: float) -> None:
        """Count how long a delivery took."""
        self.latency_max = max(self.latency_max, latency)
        # Two clocks may disagree, and a wait of less than nothing is none.
        self.latency.add(max(0.0, latency))

    def totals(self) -> Totals:
        """Return the numbers as they are now."""
        return Totals(
            self.delivered,
            self.retried,
            self.dead,
            self.latency.total,
            sum(self.latency.counts),
            self.latency_max,
        )


class Tally:
    """The counters of one session. Belongs to the event loop; `now` is monotonic."""

    def __init__(self, now: float) -> None:
        self.turns = Histogram(TURN_BOUNDS)
        """How long the drain's exchanges with the database took."""
        self.answered_at = now
        """When the database answered the drain for the last time, or wasn't asked anything."""
        self.lease_until = now
        """Until when the outbox is ours; inf where the kernel's lock says so."""
        self.lost_at: float | None = None
        """Since when the database hasn't answered; None while it does."""
        self.lost_reason = ""
        """What it said instead."""
        self._waits = 0
        self._destinations: dict[str, Counts] = {}

    @property
    def destinations(self) -> Mapping[str, Counts]:
        """Return what was counted, by destination; one without any outcome so far isn't in it."""
        return self._destinations

    def totals(self, *, restart_max: bool = False) -> dict[str, Totals]:
        """Return the totals by destination; `restart_max` lets the longest latency begin anew."""
        found = {name: counts.totals() for name, counts in self._destinations.items()}
        if restart_max:
            for counts in self._destinations.values():
                counts.latency_max = 0.0
        return found

    def recorded(self, destination: str, settled: Sequence[Ended]) -> None:
        """Count outcomes that are on disk."""
        if not settled:
            return
        counts = self._destinations.setdefault(destination, Counts())
        for item in settled:
            counts.meet(item.outcome.cause)
            counts.seconds += item.seconds
            record = item.record
            status = record.verdict.status
            if status is Status.DELIVERED:
                counts.delivered += 1
                if created_at := record.event.created_at:
                    counts.took(record.at - created_at)
            elif status is Status.PENDING:
                counts.retried += 1
            else:
                counts.dead += 1

    def turned(self, seconds: float, now: float, lease_until: float) -> None:
        """Count an exchange with the database that went well."""
        self.turns.add(seconds)
        self.answered_at = now
        self.lease_until = lease_until
        self.lost_at = None

    def waited(self, now: float) -> int:
        """Take in that the drain has nothing to ask, and waits for no answer; return how often."""
        self.answered_at = now
        self._waits += 1
        return self._waits

    def unanswered_for(self, now: float) -> float:
        """Return for how many seconds the database hasn't answered; few, where all is well.

        Of one that hangs nobody is told that it is lost.
        """
        return now - (self.answered_at if self.lost_at is None else self.lost_at)

    def lost(self, now: float, reason: str = "") -> None:
        """Take in that the database doesn't answer."""
        self.lost_reason = reason
        if self.lost_at is None:
            self.lost_at = now

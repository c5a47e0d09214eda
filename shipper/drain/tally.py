"""What the drain has done since its session began, in plain numbers for other parts to read.

It counts only what is recorded, and decides nothing. It must cost next to nothing for an event, and
must never know a key or an event: its size depends on the configuration, not on how long it runs.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from shipper.drain.terms import Ended
from shipper.policy.delivery import Status

# Upper bounds in seconds; the last count is for everything above.
LATENCY_BOUNDS: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
    21600.0, 86400.0,
)  # fmt: skip
TURN_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

# A receiver chooses its status codes: beyond this number of outcomes, new ones are counted as one.
OUTCOMES_MAX: Final = 64
OTHER: Final = "other"


class Histogram:
    """Counts values by the smallest bound that they don't exceed."""

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

    A latency is the seconds from the time an event was written to the answer that accepted it.
    """

    delivered: int
    retried: int
    """Tries after which the event stays pending."""
    dead: int
    latency_sum: float
    latency_max: float
    """The longest since `Tally.totals` was last called with `restart_max`."""


@dataclass(slots=True)
class Counts:
    """The counters of one destination. `seconds` is the sum of the durations of all tries."""

    tries: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    retried: int = 0
    dead: int = 0
    seconds: float = 0.0
    latency: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS))
    latency_max: float = 0.0

    def meet(self, cause: str) -> None:
        """Count a try by its outcome."""
        known = cause if cause in self.tries or len(self.tries) < OUTCOMES_MAX else OTHER
        self.tries[known] = self.tries.get(known, 0) + 1

    def took(self, latency: float) -> None:
        """Count the latency of a delivery."""
        # The clocks of two machines can differ: a negative latency counts as 0.
        latency = max(latency, 0.0)
        self.latency.add(latency)
        self.latency_max = max(self.latency_max, latency)

    def totals(self) -> Totals:
        """Return the numbers as they are now."""
        return Totals(
            self.delivered,
            self.retried,
            self.dead,
            self.latency.total,
            self.latency_max,
        )


class Tally:
    """The counters of one session. Belongs to the event loop; `now` is monotonic."""

    def __init__(self, now: float) -> None:
        self.turns = Histogram(TURN_BOUNDS)
        """How long the drain's exchanges with the database took."""
        self.answered_at = now
        """When the database last answered the drain, or the drain last had no question for it."""
        self.lease_until = now
        """Until when the lease lasts; inf if a lock of the kernel takes its place."""
        self.lost_at: float | None = None
        """Since when the database hasn't answered; None while it does."""
        self.lost_reason = ""
        """The last error of the database."""
        self._waits = 0
        self._destinations: dict[str, Counts] = {}

    @property
    def destinations(self) -> Mapping[str, Counts]:
        """Return the counters by destination; a destination without any outcome has none."""
        return self._destinations

    def totals(self, *, restart_max: bool = False) -> dict[str, Totals]:
        """Return the totals by destination; `restart_max` sets the longest latency back to 0."""
        found = {name: counts.totals() for name, counts in self._destinations.items()}
        if restart_max:
            for counts in self._destinations.values():
                counts.latency_max = 0.0
        return found

    def recorded(self, destination: str, ended: Sequence[Ended]) -> None:
        """Count outcomes that are on disk."""
        if not ended:
            return
        counts = self._destinations.get(destination)
        if counts is None:
            counts = self._destinations[destination] = Counts()
        tries = counts.tries
        for _, record, outcome, _, _, seconds in ended:
            if outcome.cause in tries:
                tries[outcome.cause] += 1
            else:
                counts.meet(outcome.cause)
            counts.seconds += seconds
            status = record.verdict.status
            if status is Status.DELIVERED:
                counts.delivered += 1
                if written := record.event.created_at:
                    counts.took(record.at - written)
            elif status is Status.PENDING:
                counts.retried += 1
            else:
                counts.dead += 1

    def turned(self, seconds: float, now: float, lease_until: float) -> None:
        """Count an exchange with the database that worked."""
        self.turns.add(seconds)
        self.answered_at = now
        self.lease_until = lease_until
        self.lost_at = None

    def waited(self, now: float) -> int:
        """Count a wait of the drain without an exchange; return how many there were."""
        self.answered_at = now
        self._waits += 1
        return self._waits

    def unanswered_for(self, now: float) -> float:
        """Return for how many seconds the database hasn't answered; a few seconds are normal.

        This covers a database that hangs: it returns no error, so `lost` isn't called.
        """
        return now - (self.answered_at if self.lost_at is None else self.lost_at)

    def lost(self, now: float, reason: str = "") -> None:
        """Record that the database returns an error instead of an answer."""
        self.lost_reason = reason
        if self.lost_at is None:
            self.lost_at = now

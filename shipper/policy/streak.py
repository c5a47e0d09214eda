"""An event's failures in a row: what backoff, blame and the history have to know of them. Pure.

It must never outlive its event's place at the head of the lane: the next head starts without one.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Streak:
    """The failures of one event in a row, charged or not."""

    event: int
    failures: int = 0
    began: int | None = None
    """The number of the latest try, of any event, that had begun when the first failure came."""
    noted_outage: int = 0
    """The outage for which the event's history has its row."""

    def fail(self, begun: int) -> None:
        """Count a failure; `begun` is how many tries of any event have begun so far."""
        self.failures += 1
        if self.began is None:
            self.began = begun

"""An event's failures in a row, as backoff, blame and the history need them. Pure.

A streak must never pass to another event: when the head of a lane ends, its streak ends as well.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Streak:
    """The failures of one event in a row, charged or not."""

    event: int
    failures: int = 0
    began: int | None = None
    """The number of the latest try (of any event) that had begun at the first failure."""
    noted_outage: int = 0
    """The number of the outage for which the event's history has a row."""

    def fail(self, begun: int) -> None:
        """Count a failure; `begun` is how many tries of any event have begun so far."""
        self.failures += 1
        if self.began is None:
            self.began = begun

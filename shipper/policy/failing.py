"""How many tries of a destination have failed in a row, and since when. Pure.

It decides nothing. It shows the first failure to the operator of an outbox with few events, long
before `link` calls the destination offline. It counts every failure since the last acceptance,
charged or not. It must never forget failures before an event is accepted, and never count an
invalid event, which is never sent.
"""

from dataclasses import dataclass

from shipper.policy.outcome import Outcome

ERROR_CHARS = 500


@dataclass(slots=True)
class Failing:
    """A run of failed tries. Times are monotonic seconds; `where` is the receiver's host:port."""

    where: str = ""
    failures: int = 0
    last_error: str | None = None
    since: float | None = None
    """When the first failed try of the run ended."""
    next_try_at: float | None = None
    """When the next event that failed is tried again; None if that isn't known."""
    runs: int = 0
    """The number of this run, counted from the start of the process."""

    def resume(
        self, failures: int, last_error: str | None, since: float, next_try_at: float | None
    ) -> None:
        """Continue the run of an earlier process."""
        if failures > 0:
            self.runs += 1
            self.failures, self.last_error = failures, last_error
            self.since, self.next_try_at = since, next_try_at

    def failed(self, outcome: Outcome, now: float) -> None:
        """Count a try that failed."""
        if not self.failures:
            self.runs += 1
            self.since = now
        self.failures += 1
        self.last_error = self._named(describe(outcome))[:ERROR_CHARS]

    def worked(self) -> None:
        """End the run: a try was accepted."""
        if self.failures:
            self.failures = 0
            self.last_error = self.since = self.next_try_at = None

    def retried_at(self, due: float, now: float) -> None:
        """Record that an event that failed will be tried again at `due`."""
        if self.next_try_at is None or self.next_try_at <= now:
            self.next_try_at = due
        else:
            self.next_try_at = min(self.next_try_at, due)

    def _named(self, error: str) -> str:
        return error if not self.where or self.where in error else f"{error} ({self.where})"


def describe(outcome: Outcome) -> str:
    """Return an outcome as `last_error` shows it: its cause, then its detail if there is one."""
    return f"{outcome.cause}: {outcome.detail}" if outcome.detail else outcome.cause

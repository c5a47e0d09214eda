"""The tries of a destination that have failed in a row: what a quiet shop has to know. Pure.

It counts from the first failure since the last success, whomever it was charged to: `link` decides
what follows from failures, this only says that there are some. It must never forget them before
something was accepted, and never count what didn't leave because of the event itself.
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
    """When the first of the run ended."""
    next_try_at: float | None = None
    """When the first of what failed is tried again, as far as that is known."""
    runs: int = 0
    """How many runs there were: a number that tells one from the next."""

    def resume(
        self, failures: int, last_error: str | None, since: float, next_try_at: float | None
    ) -> None:
        """Go on where an earlier process stopped."""
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
        """Take in that a try was accepted."""
        self.failures = 0
        self.last_error = self.since = self.next_try_at = None

    def retried_at(self, due: float, now: float) -> None:
        """Take in when something of what failed is to be tried again."""
        if self.next_try_at is None or self.next_try_at <= now:
            self.next_try_at = due
        else:
            self.next_try_at = min(self.next_try_at, due)

    def _named(self, error: str) -> str:
        return error if not self.where or self.where in error else f"{error} ({self.where})"


def describe(outcome: Outcome) -> str:
    """Return an outcome as `last_error` has it: its cause, and what a person can read of it."""
    return f"{outcome.cause}: {outcome.detail}" if outcome.detail else outcome.cause

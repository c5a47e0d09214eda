"""How many requests a second a destination gets. Pure: time comes in.

It must never let more than `max_rate` requests begin in any second, probes among them.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Spaces requests so that no second sees more than `rate` of them; 0 means no limit.

    What a hundredth of a second allows may go out together: a daemon doesn't wake more often.
    """

    rate: float
    _next: float = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start; 0 when it may now."""
        return max(0.0, self._next - now) if self.rate else 0.0

    def wait_until(self, moment: float) -> None:
        """Let nothing start before that, for the requests that another pace has counted."""
        self._next = max(self._next, moment)

    def take(self, now: float) -> None:
        """Count one request begun now."""
        if self.rate:
            saved = max(0.0, 0.01 - 1.0 / self.rate)
            self._next = max(self._next, now - saved) + 1.0 / self.rate

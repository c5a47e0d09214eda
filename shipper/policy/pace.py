"""How many requests a second a destination gets. Pure: time comes in.

It must never let more than `max_rate` requests begin in any second, probes among them.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Spaces requests so that no second sees more than `rate` of them; 0 means no limit.

    The requests of a hundredth of a second can begin together, because a timer isn't more precise.
    """

    rate: float
    _next: float = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next request can begin; 0 if it can begin now."""
        return max(0.0, self._next - now) if self.rate else 0.0

    def wait_until(self, moment: float) -> None:
        """Let no request begin before `moment`: another pace has counted requests until then."""
        self._next = max(self._next, moment)

    def change(self, rate: float, now: float) -> None:
        """Let `rate` requests a second begin from now on.

        A wait that has begun becomes shorter with a higher rate, and never longer.
        """
        if 0 < self.rate < rate:
            self._next = now + self.wait(now) * self.rate / rate
        self.rate = rate

    def take(self, now: float) -> None:
        """Count a request that begins now."""
        if self.rate:
            saved = max(0.0, 0.01 - 1.0 / self.rate)
            self._next = max(self._next, now - saved) + 1.0 / self.rate

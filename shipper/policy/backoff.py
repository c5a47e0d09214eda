"""When to try again. Pure: chance comes in as a number.

The wait before try n is drawn evenly from [min_delay, min(max_delay, min_delay * 2**n)]: jitter
spreads what failed together, and the lower bound keeps a lucky draw from hammering.
"""

from dataclasses import dataclass

# 2**64 seconds is longer than any max_delay; beyond it a float would overflow one day.
_MAX_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """The bounds of a wait, in seconds."""

    min_delay: float
    max_delay: float

    def delay(self, failures: int, chance: float) -> float:
        """Return the seconds to wait after so many failures (1 or more), for a chance in [0, 1)."""
        ceiling = min(self.max_delay, self.min_delay * 2.0 ** min(failures, _MAX_DOUBLINGS))
        floor = min(self.min_delay, ceiling)
        return floor + chance * (ceiling - floor)

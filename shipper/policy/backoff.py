"""When to try again. Pure: chance comes in as a number.

The wait before try n is drawn evenly from [min_delay, min(max_delay, min_delay * 2**n)]. Jitter
spreads the tries that failed together. It must never return less than `min_delay`: a lucky draw
would let the daemon send one try after the other.
"""

from dataclasses import dataclass

# 2**64 seconds is longer than any max_delay. A much larger power would overflow a float.
_MAX_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """The bounds of a wait, in seconds."""

    min_delay: float
    max_delay: float

    def delay(self, failures: int, chance: float) -> float:
        """Return the seconds to wait after `failures` (1 or more); `chance` is in [0, 1)."""
        ceiling = self.longest(failures)
        floor = min(self.min_delay, ceiling)
        return floor + chance * (ceiling - floor)

    def longest(self, failures: int) -> float:
        """Return the longest wait after so many failures, in seconds."""
        return min(self.max_delay, self.min_delay * 2.0 ** min(failures, _MAX_DOUBLINGS))

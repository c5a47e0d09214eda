"""Whether the database has been quick lately: a mean in which the last values count most.

It decides whether the next step may hold up the event loop. One slow step among many quick ones
must not change the answer often, and after a slow time the answer must never be yes before steps in
the database's thread were quick.
"""

# The part of the newest value in the mean: one slow turn among quick ones is forgotten soon.
_NEWEST = 0.125
# Seconds until a step is allowed again.
_AGAIN_AFTER = 5.0
_AGAIN_AFTER_MOST = 3600.0
# In the database's thread a step takes longer, because two threads share the interpreter.
_ELSEWHERE = 3.0


class Swiftness:
    """Allows steps that take less than `limit` seconds on average."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._mean = 0.0
        self._slow_until: float | None = None

    def is_swift(self, now: float) -> bool:
        """Return whether the next step is likely to be short."""
        if self._slow_until is None:
            return True
        if now < self._slow_until or self._mean > self._limit * _ELSEWHERE:
            return False
        self._mean, self._slow_until = 0.0, None
        return True

    def took(self, seconds: float, now: float) -> None:
        """Note how long a step took that ended `now`, in whichever thread."""
        self._mean += (seconds - self._mean) * _NEWEST
        if self._slow_until is None and self._mean > self._limit:
            # A disk that hangs now and then takes a thousandth of the loop's time at most.
            self._slow_until = now + min(max(_AGAIN_AFTER, 1000 * seconds), _AGAIN_AFTER_MOST)
            # From now on it is the mean of the steps elsewhere: without any, it stays slow.
            self._mean = max(seconds, 1.1 * self._limit * _ELSEWHERE)

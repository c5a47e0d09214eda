"""How work on many rows is cut up, so that nobody waits for it.

It decides how many rows the next transaction takes, from how long the last one took, and how long
everybody else has a turn in between: SQLite has no queue of writers, and an application that asks
now and then would find the lock taken each time. It must never hold more in memory than a batch.

A batch is a transaction of its own. What is done stays done whatever comes, and whoever does the
same again goes on with the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Final

from shipper.clock import SystemClock

BATCH_SECONDS: Final = 0.02
"""How long a batch should hold the write lock: far below the tenth of a second that is promised."""
FIRST: Final = 50
LEAST: Final = 1
MOST: Final = 1000
_REST_LEAST: Final = 0.005

_clock, _nobody = SystemClock(), Event()


class Turns:
    """The batches of one piece of work: how large the next one is, and a rest before it."""

    def __init__(
        self,
        monotonic: Callable[[], float] = _clock.monotonic,
        rest: Callable[[float], object] = _nobody.wait,
    ) -> None:
        self.rows = FIRST
        """How many rows the next batch may take."""
        self._monotonic = monotonic
        self._rest = rest
        self._owed = 0.0

    @contextmanager
    def taking(self) -> Iterator[int]:
        """Rest for as long as the last batch took, then time this one; gives its size."""
        if self._owed:
            self._rest(self._owed)
        began = self._monotonic()
        yield self.rows
        seconds = self._monotonic() - began
        self._owed = max(_REST_LEAST, seconds)
        self.rows = paced(self.rows, seconds, BATCH_SECONDS, (LEAST, MOST))


def paced(rows: int, seconds: float, wanted: float, bounds: tuple[int, int]) -> int:
    """Return how many rows come next after so many took `seconds`, where `wanted` is right."""
    least, most = bounds
    if seconds > wanted:
        # A single slow disk write is no reason to begin from nothing; ten times too long is.
        return max(least, min(rows // 2, round(rows * wanted / seconds * 2)))
    return min(most, rows * 2) if seconds < wanted / 2 else rows

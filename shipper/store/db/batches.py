"""How work on many rows is cut up, so that nobody waits for it.

It decides how many rows the next transaction takes, from how long the last one took, and how long
everybody else has a turn in between: SQLite has no queue of writers, and an application that asks
now and then would find the lock taken each time. It must never hold more in memory than a batch.

A batch is a transaction of its own. What is done stays done whatever comes, and whoever does the
same again goes on with the rest.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from threading import Event
from typing import Final, TypeVar

from shipper.clock import SystemClock

BATCH_SECONDS: Final = 0.01
"""How long a batch should hold the write lock: a tenth of what is promised at most."""
FIRST: Final = 50
LEAST: Final = 1
MOST: Final = 1000
_REST_LEAST: Final = 0.005

_clock, _nobody = SystemClock(), Event()

T = TypeVar("T")


class Batches:
    """The batches of one piece of work: how large the next one is, and a rest before it."""

    def __init__(
        self,
        first: int = FIRST,
        *,
        monotonic: Callable[[], float] = _clock.monotonic,
        rest: Callable[[float], object] = _nobody.wait,
    ) -> None:
        self.rows = first
        """How many rows the next batch may take."""
        self._monotonic = monotonic
        self._rest = rest
        self._owed = 0.0

    def cut(
        self, items: Iterable[T], weight: Callable[[T], int] | None = None, heaviest: int = 0
    ) -> Iterator[list[T]]:
        """Yield the items in batches; one that weighs `heaviest` takes nothing more."""
        given = iter(items)
        while batch := _taken(given, self.rows, weight, heaviest):
            yield batch

    @contextmanager
    def timing(self, taken: int) -> Iterator[None]:
        """Rest for as long as the last batch took, then time this one, of so many rows."""
        if self._owed:
            self._rest(self._owed)
        began = self._monotonic()
        yield
        seconds = self._monotonic() - began
        self._owed = max(_REST_LEAST, seconds)
        rows = paced(self.rows, seconds, BATCH_SECONDS, (LEAST, MOST))
        # One that wasn't full says nothing of a larger one.
        self.rows = min(rows, self.rows) if taken < self.rows else rows


def _taken(
    given: Iterator[T], rows: int, weight: Callable[[T], int] | None, heaviest: int
) -> list[T]:
    batch: list[T] = []
    room = heaviest
    for item in islice(given, rows):
        batch.append(item)
        if weight is not None and (room := room - weight(item)) <= 0:
            break
    return batch


def paced(rows: int, seconds: float, wanted: float, bounds: tuple[int, int]) -> int:
    """Return how many rows come next after so many took `seconds`, where `wanted` is right."""
    least, most = bounds
    if seconds > wanted:
        # A single slow disk write is no reason to begin from nothing; ten times too long is.
        return max(least, min(rows // 2, round(rows * wanted / seconds * 2)))
    return min(most, rows * 2) if seconds < wanted / 2 else rows

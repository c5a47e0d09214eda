"""How work on many rows is cut into batches, so that no other process waits for it.

It decides how many rows the next batch takes, by how long the last batch took, and how long the
pause before it is. SQLite has no queue of writers: without pauses, an application that asks for the
lock now and then would find it taken each time. It must never hold more in memory than a batch.

A batch is a transaction of its own. A batch that has committed stays, and the same command, run
again, goes on with the rest.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from threading import Event
from typing import Final, TypeVar

from shipper.clock import SystemClock

BATCH_SECONDS: Final = 0.01
"""How long a batch should hold the write lock, in seconds: a tenth of the promised limit."""
FIRST: Final = 50
LEAST: Final = 1
MOST: Final = 1000
_REST_LEAST: Final = 0.005

_clock, _pause = SystemClock(), Event()

T = TypeVar("T")


class Batches:
    """The batches of one piece of work: how large the next batch is, and the pause before it."""

    def __init__(
        self,
        first: int = FIRST,
        *,
        monotonic: Callable[[], float] = _clock.monotonic,
        rest: Callable[[float], object] = _pause.wait,
    ) -> None:
        self.rows = first
        """How many rows the next batch takes at most."""
        self._monotonic = monotonic
        self._rest = rest
        self._owed = 0.0

    def cut(
        self, items: Iterable[T], weight: Callable[[T], int] | None = None, heaviest: int = 0
    ) -> Iterator[list[T]]:
        """Yield the items in batches; a batch that weighs `heaviest` takes no further item."""
        given = iter(items)
        while batch := _taken(given, self.rows, weight, heaviest):
            yield batch

    @contextmanager
    def timing(self, taken: int) -> Iterator[None]:
        """Pause for as long as the last batch took, then time this batch of `taken` rows."""
        if self._owed:
            self._rest(self._owed)
        began = self._monotonic()
        yield
        seconds = self._monotonic() - began
        self._owed = max(_REST_LEAST, seconds)
        rows = paced(self.rows, seconds, BATCH_SECONDS, (LEAST, MOST))
        # The time of a batch that wasn't full says nothing about a full one.
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
    """Return how many rows to take next, after `rows` took `seconds` and should take `wanted`."""
    least, most = bounds
    if seconds > wanted:
        # One slow write to the disk must not shrink the batch to nothing.
        return max(least, min(rows // 2, round(rows * wanted / seconds * 2)))
    return min(most, rows * 2) if seconds < wanted / 2 else rows

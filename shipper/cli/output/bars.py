"""Minutes as bars: a line of blocks, or of plain characters where stdout can't write those."""

from collections.abc import Callable, Iterable, Sequence
from math import ceil

from shipper.store.report.minutes import Minute
from shipper.wording.colours import ascii_only

MINUTES = 60
BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-:=+*#"


def alphabet() -> str:
    """Return what stdout can write."""
    return ASCII_BARS if ascii_only() else BARS


def bars(values: Sequence[float], characters: str = BARS) -> str:
    """Return values as bars; nothing is the lowest one, and whatever is not nothing is higher."""
    greatest = max(values, default=0.0)
    steps = len(characters) - 1
    return "".join(characters[ceil(value / greatest * steps) if value else 0] for value in values)


def first_minute(now: float) -> float:
    """Return when the last hour's first minute began; the running minute is its last."""
    return (now // 60.0 - (MINUTES - 1)) * 60.0


def by_minute(
    minutes: Iterable[Minute], first: float, value: Callable[[Minute], float]
) -> list[float]:
    """Return a value of each minute from `first` on, 0 where nothing is written down."""
    values = [0.0] * MINUTES
    for minute in minutes:
        place = int((minute.minute - first) // 60.0)
        if 0 <= place < MINUTES:
            values[place] = value(minute)
    return values

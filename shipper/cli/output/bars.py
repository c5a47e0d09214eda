"""Minutes as bars: a line of blocks, or of ASCII characters if stdout can't write blocks."""

from collections.abc import Callable, Iterable, Sequence
from math import ceil

from shipper.store.report.minutes import Minute
from shipper.wording.colours import ascii_only

MINUTES = 60
BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-:=+*#"


def alphabet() -> str:
    """Return the characters of the bars that stdout can write, the lowest first."""
    return ASCII_BARS if ascii_only() else BARS


def bars(values: Sequence[float], characters: str = BARS) -> str:
    """Return values as bars: 0 is the lowest bar, and every other value is a higher one."""
    greatest = max(values, default=0.0)
    steps = len(characters) - 1
    return "".join(characters[ceil(value / greatest * steps) if value else 0] for value in values)


def first_minute(now: float) -> float:
    """Return when the first minute of the last hour began; the running minute is the last one."""
    return (now // 60.0 - (MINUTES - 1)) * 60.0


def by_minute(
    minutes: Iterable[Minute], first: float, value: Callable[[Minute], float]
) -> list[float]:
    """Return the value of each minute from `first` on, 0 for a minute without a record."""
    values = [0.0] * MINUTES
    for minute in minutes:
        place = int((minute.minute - first) // 60.0)
        if 0 <= place < MINUTES:
            values[place] = value(minute)
    return values

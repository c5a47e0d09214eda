"""How numbers, sizes and durations are written for a person, the same in every command.

It decides how much of a number a person needs. Nothing here is for programs: they get numbers as
they are, in JSON and through a pipe.
"""

from typing import Final

UNITS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""The units of a duration, in seconds, the greatest first."""

_WORDS: Final = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
_TEN_YEARS: Final = 3650.0


def count(number: float) -> str:
    """Return a whole number with commas between its thousands: `6,661`."""
    return f"{number:,.0f}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return the noun that goes with a number; its plural is `many`, or else `one` with an s."""
    return one if number == 1 else many or f"{one}s"


def several(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 event`, `6,661 events`."""
    return f"{count(number)} {plural(number, one, many)}"


def age(seconds: float) -> str:
    """Return a duration, rounded down to its greatest unit, for a table: `42s`, `5m`, `12d`."""
    unit = next((unit for unit in "dhm" if seconds >= UNITS[unit]), "s")
    return f"{max(0.0, seconds) // UNITS[unit]:.0f}{unit}"


def lasting(seconds: float) -> str:
    """Return a duration, rounded to about two figures, for a sentence: `90 s`, `47 hours`."""
    for unit, words in _WORDS:
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {words}"
    return f"{max(0.0, seconds):.0f} s"


def duration(seconds: float) -> str:
    """Return a duration to the millisecond, as a setting has it: `1m30s`, `250ms`."""
    left = round(seconds * 1000)
    parts = []
    for unit, size_of_it in UNITS.items():
        number, left = divmod(left, round(size_of_it * 1000))
        parts += [f"{number}{unit}"] if number else []
    return "".join(parts) or "0s"


def size(number: float) -> str:
    """Return a number of bytes in decimal units: `512 bytes`, `1.5 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def forecast(days: float) -> str:
    """Return how long the room lasts while the API is down, at the rate of the last day."""
    if days > _TEN_YEARS:
        return "at today's rate not full within ten years offline"
    return f"full in {lasting(days * UNITS['d'])} at today's rate offline"

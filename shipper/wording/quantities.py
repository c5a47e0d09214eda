"""How numbers and durations are written for a person, the same in every command.

Programs get numbers as they are: JSON, and what goes into a pipe, are none of this module's.
"""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))


def count(number: float) -> str:
    """Return a number with its thousands apart: `6,661`."""
    return f"{number:,.0f}"


def several(number: int, one: str, many: str | None = None) -> str:
    """Return a number of things: `1 event`, `6,661 events`; `many` where it isn't `one` + s."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def age(seconds: float) -> str:
    """Return a duration in whole ones of its greatest unit: `42s`, `5m`, `3h`, `12d`."""
    for unit, letter in _UNITS:
        if seconds >= unit:
            return f"{seconds // unit:.0f}{letter}"
    return f"{max(0.0, seconds) // 1:.0f}s"

"""Turns a cron expression (five fields, or a nickname) into sets of numbers.

It decides what is a cron expression, by cron's own rules (cronie's crontab(5) and entry.c; Debian's
and Vixie's agree): 0 and 7 are Sunday; names are the first three letters, in any case; a step
follows `*` or a range; if both the day of the month and the day of the week are restricted, either
of them is enough. A field that begins with `*` restricts nothing in that sense, not even as `*/2`.
It must never read an expression differently from cron. If cron refuses an expression, it is refused
here, with the spelling that cron accepts. The one exception is `fri-sun`: cron refuses it, but it
can mean only one thing.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

_MONTHS: Final = tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())  # noqa: SIM905
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SUNDAY: Final = 7

_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FOREIGN: Final = re.compile(r"[?#~]|^[0-9]*[hlw]+([-/(0-9]|$)", re.IGNORECASE)
_LONGEST: Final = 4  # digits that a number can have, with leading zeros


class _Field(NamedTuple):
    """One of the five fields: its name, and the numbers and names that it accepts."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, _SUNDAY, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Crontab:
    """The minutes of an expression. `weekdays` count from Sunday, which is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Whether one of `days` and `weekdays` is enough, because both are restricted."""

    @classmethod
    def parse(cls, expression: str) -> "Crontab":
        """Return what an expression means. Raises ValueError, with the correct spelling."""
        written = _fields(expression)
        minutes, hours, days, months, weekdays = (
            _numbers(field, text) for field, text in zip(_FIELDS, written, strict=True)
        )
        either = not (written[2].startswith("*") or written[4].startswith("*"))
        weekdays = frozenset(day % _SUNDAY for day in weekdays)
        return cls(minutes, hours, days, months, weekdays, either)

    def matches(self, local: datetime) -> bool:
        """Return whether a local time is in one of the minutes."""
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and local.month in self.months
            and self._has_day(local.day, local.isoweekday() % _SUNDAY)
        )

    def _has_day(self, day: int, weekday: int) -> bool:
        of_month, of_week = day in self.days, weekday in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week

    @property
    def is_possible(self) -> bool:
        """Return whether such a minute exists: no February has a 30th day."""
        # 2024 has a 29th of February; which weekday that is changes from leap year to leap year.
        longest = max(calendar.monthrange(2024, month)[1] for month in self.months)
        return self.either_day or min(self.days) <= longest


def _fields(expression: str) -> list[str]:
    fields = expression.split()
    if len(fields) == 1 and fields[0].startswith("@"):
        nickname = fields[0].lower()
        if nickname not in _NICKNAMES:
            known = ", ".join(_NICKNAMES)
            raise ValueError(f"{fields[0]} names no minute; use one of {known}")
        return _NICKNAMES[nickname].split()
    if len(fields) != 5:
        seconds = "; remove the seconds (or the year)" if len(fields) == 6 else ""
        raise ValueError(f"it has {len(fields)} fields and must have 5{seconds}")
    return fields


def _numbers(field: _Field, text: str) -> frozenset[int]:
    return frozenset(number for part in text.split(",") for number in _part(field, part))


def _part(field: _Field, part: str) -> range:
    """Return the numbers of `*`, a number, or a range. `*` and a range can have a step."""
    span, slash, step = part.partition("/")
    if span == "*":
        return range(field.low, field.high + 1, _step(field, part, slash, step))
    first, dash, last = span.partition("-")
    low = _number(field, part, first)
    if not dash:
        if slash:
            every = _step(field, part, slash, step)
            raise ValueError(
                f"{field.name}: in cron a step follows a range; write {low}-{field.high}/{every}"
            )
        return range(low, low + 1)
    high, every = _number(field, part, last), _step(field, part, slash, step)
    if last.lower() == _DAYS[0]:
        high = _SUNDAY if low else high  # `fri-sun`, and `sun-sun`
    if low > high:
        raise ValueError(
            f"{field.name}: {part} runs backwards; write {_forwards(field, low, high, every)}"
        )
    return range(low, high + 1, every)


def _number(field: _Field, part: str, word: str) -> int:
    if word.isascii() and word.isdigit() and len(word) <= _LONGEST:
        if field.low <= int(word) <= field.high:
            return int(word)
        raise ValueError(f"{field.name}: {word} is not from {field.low} to {field.high}")
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.low
    raise ValueError(f"{field.name}: {_why_not(field, part, word)}")


def _step(field: _Field, part: str, slash: str, step: str) -> int:
    if not slash:
        return 1
    if step.isascii() and step.isdigit() and len(step) <= _LONGEST and int(step):
        return int(step)
    raise ValueError(f"{field.name}: the step of {part} is not a number from 1 on")


def _why_not(field: _Field, part: str, word: str) -> str:
    if not part:
        return "a comma has no number beside it"
    if _FOREIGN.search(part):
        return f"{part} is not known to cron: only other schedulers know ?, #, ~, H, L and W"
    full = next((name for name in field.names if word.lower().startswith(name)), None)
    if full is not None:
        return f"{word} is not known; names are three letters: {full}"
    return f"{word or part} is neither a number{' nor a name' if field.names else ''}"


def _forwards(field: _Field, low: int, high: int, every: int) -> str:
    """Return how cron spells a range that continues at the beginning."""
    last = 6 if field.high == _SUNDAY else field.high
    if low > last:  # 7, after which the range continues at 1
        return _span(field.low, high) + (f"/{every}" if every > 1 and high else "")
    if every > 1:
        around = [*range(low, last + 1), *range(field.low, high + 1)]
        return ",".join(map(str, around[::every]))
    return f"{_span(low, last)},{_span(field.low, high)}"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"

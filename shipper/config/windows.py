"""Delivery windows: the minutes, by cron expressions and a time zone, in which events are sent.

The local time of that zone decides, to the minute. So a minute that the change to summer time
leaves out is never open, and a minute that the change back repeats is open both times.

APScheduler computes when the next window opens. Across such a change it misses minutes, sometimes a
whole day. So it is asked for each stretch between two changes, on a clock without changes.
"""

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from shipper.config import Settings
from shipper.config.crontab import Crontab
from shipper.errors import ConfigError

_MINUTE: Final = 60
_DAY: Final = 86400
# Leap years are at most eight years apart: a window that doesn't open until then never opens.
_SOON_ENOUGH: Final = 9 * 366 * _DAY
# `open_within` looks at each minute, so it looks back only this far.
_LOOKED_BACK: Final = 35 * _DAY
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HINT: Final = (
    "as in crontab(5): minute hour day-of-month month day-of-week, for instance"
    " '* 22-23 * * mon-fri'"
)


class Windows:
    """A set of cron expressions in a time zone. An empty set is always open.

    Raises ConfigError, with every expression that isn't valid.
    """

    def __init__(
        self, expressions: Iterable[str], timezone: str = "UTC", place: str = "schedule.windows"
    ) -> None:
        self.timezone = timezone
        self._zone: tzinfo = UTC if timezone == "UTC" else ZoneInfo(timezone)
        self._schedules, problems = [], []
        for expression in expressions:
            try:
                self._schedules.append(Crontab.parse(expression))
            except ValueError as error:
                problems.append(f"{place}: {expression!r} is not a cron expression: {error}")
        if problems:
            raise ConfigError(problems, _HINT)

    @classmethod
    def of(cls, settings: Settings) -> "Windows":
        """Return the windows of a configuration. A ConfigError names the line."""
        name, schedule = "schedule.windows", settings.schedule
        origin = settings.origins.get(name)
        place = f"{origin}: {name}" if origin else name
        return cls(schedule.windows, schedule.timezone, place)

    def is_open(self, wall: float) -> bool:
        """Return whether a window is open at a wall time (seconds since 1970)."""
        local = datetime.fromtimestamp(wall, self._zone)
        return not self._schedules or any(schedule.matches(local) for schedule in self._schedules)

    def opens_at(self, wall: float) -> float | None:
        """Return when the next window opens, or `wall` while one is open.

        In seconds since 1970; None if no window opens within the next nine years.
        """
        if self.is_open(wall):
            return wall
        found = [self._opens(schedule, wall) for schedule in self._schedules]
        return min((moment for moment in found if moment is not None), default=None)

    def describe(self, wall: float) -> str:
        """Return for a person whether a window is open, and if not, when one opens."""
        if self.is_open(wall):
            return f"inside the delivery windows ({self.timezone})"
        return f"outside the delivery windows ({self.timezone}) {self.until(wall)}"

    def until(self, wall: float) -> str:
        """Return for a person until when all windows are closed."""
        opens = self.opens_at(wall)
        if opens is None:
            return "for ever"
        now, then = (datetime.fromtimestamp(moment, self._zone) for moment in (wall, opens))
        day = "" if then.date() == now.date() else f"{then:%Y-%m-%d} "
        return f"until {day}{then:%H:%M}"

    def open_within(self, begin: float, end: float, enough: float) -> float:
        """Return for how many seconds between two wall times a window was open.

        The count stops once it is more than `enough`. Time further back than five weeks counts as
        open.
        """
        if not self._schedules:
            return end - begin
        earliest = max(begin, end - _LOOKED_BACK)
        seconds, minute = earliest - begin, end // _MINUTE * _MINUTE
        while end > earliest and seconds <= enough:
            if self.is_open(minute):
                seconds += end - max(minute, earliest)
            end, minute = minute, minute - _MINUTE
        return seconds

    def _opens(self, schedule: Crontab, wall: float) -> float | None:
        if not schedule.is_possible:
            return None
        trigger, now = _trigger(schedule), int(wall // _MINUTE + 1) * _MINUTE
        while now < wall + _SOON_ENOUGH:
            ahead = self._ahead(now)
            shown = datetime.fromtimestamp(now + ahead, UTC)
            found = trigger.get_next_fire_time(None, shown)
            opens = int(found.timestamp()) - ahead
            change = self._change(now, opens)
            if change is None:
                return opens
            now = change
        return None

    def _ahead(self, moment: int) -> int:
        """Return by how many seconds the zone is ahead of UTC."""
        offset = datetime.fromtimestamp(moment, self._zone).utcoffset()
        return int(offset.total_seconds()) if offset is not None else 0

    def _change(self, start: int, end: int) -> int | None:
        """Return the first minute up to `end` at which the zone's offset has changed.

        None if it doesn't change. No change is undone within a day.
        """
        ahead = self._ahead(start)
        for day in range(start, end, _DAY):
            minutes = range(day, min(day + _DAY, end) + _MINUTE, _MINUTE)
            if self._ahead(minutes[-1]) != ahead:
                return minutes[bisect_left(minutes, 1, key=lambda m: self._ahead(m) != ahead)]
        return None


def _trigger(schedule: Crontab) -> OrTrigger:
    """Return the trigger of an expression, on a clock without summer time."""
    days = {"day": _list(schedule.days)}
    weekdays = {"day_of_week": ",".join(_WEEKDAYS[day] for day in sorted(schedule.weekdays))}
    of_days = [days, weekdays] if schedule.either_day else [days | weekdays]
    rest = {
        "minute": _list(schedule.minutes),
        "hour": _list(schedule.hours),
        "month": _list(schedule.months),
    }
    return OrTrigger([CronTrigger(**rest, **each, timezone=UTC) for each in of_days])


def _list(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers)))

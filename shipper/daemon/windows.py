"""Delivery windows: the minutes, by cron expressions, in which events are sent."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.cron import CronTrigger

from shipper.errors import ConfigError


class Windows:
    """A set of cron expressions (UTC); an empty one is always open."""

    def __init__(self, expressions: Iterable[str]) -> None:
        self._triggers = [_trigger(expression) for expression in expressions]

    def is_open(self, wall: float) -> bool:
        """Return whether the minute of this wall time matches one of the expressions."""
        minute = datetime.fromtimestamp(wall, UTC).replace(second=0, microsecond=0)
        before = minute - timedelta(microseconds=1)
        return not self._triggers or any(
            trigger.get_next_fire_time(None, before) == minute for trigger in self._triggers
        )


def _trigger(expression: str) -> CronTrigger:
    try:
        return CronTrigger.from_crontab(expression, timezone=UTC)
    except ValueError as error:
        raise ConfigError(
            [f"schedule.windows: {expression!r} is no cron expression: {error}"],
            "five fields: minute hour day month weekday, for instance '* 22-23 * * *'",
        ) from None

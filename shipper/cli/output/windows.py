"""The delivery windows, for commands that tell how an outbox is: what they mean for it just now.

It must never fail: whoever ships may have others than the configuration that is there by now.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from shipper.config import Settings
from shipper.errors import ConfigError
from shipper.observe.situation import Hours, Situation

if TYPE_CHECKING:
    from shipper.config.windows import Windows


def known(facts: Situation, settings: Settings, now: float) -> Situation:
    """Return facts that know the windows, too."""
    windows = windows_of(settings)
    if windows is None:
        return facts

    def open_for(age: float, enough: float) -> float:
        return windows.open_within(now - age, now, enough)

    closed = None if windows.is_open(now) else f"window closed {windows.until(now)}"
    hours = Hours(closed and f"{closed} ({windows.timezone})", open_for)
    return replace(facts, hours=hours)


def told(settings: Settings, now: float) -> str | None:
    """Return whether a delivery window is open, for a person; None where always is one."""
    if not settings.schedule.windows:
        return None
    windows = windows_of(settings)
    if windows is None:
        return "the configured delivery windows are none; see: shipper check"
    return windows.told(now)


def until(settings: Settings, now: float) -> str | None:
    """Return until when no delivery window is open, None while one is."""
    windows = windows_of(settings)
    if windows is None or windows.is_open(now):
        return None
    return f"({windows.timezone}) {windows.until(now)}"


def windows_of(settings: Settings) -> "Windows | None":
    """Return those of a configuration; None where there are none, or none that can be read."""
    if not settings.schedule.windows:
        return None
    from shipper.config.windows import Windows  # noqa: PLC0415 - brings the whole daemon along

    try:
        return Windows.of(settings)
    except ConfigError:  # a daemon that runs has others, and they are not all that is asked for
        return None

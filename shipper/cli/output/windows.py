"""What the delivery windows mean just now, for commands that show the state of an outbox.

It must never fail for invalid windows: the running daemon can have other ones, from before a change
of the configuration.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from shipper.config import Settings
from shipper.errors import ConfigError
from shipper.observe.situation import Hours, Situation

if TYPE_CHECKING:
    from shipper.config.windows import Windows


def known(facts: Situation, settings: Settings, now: float) -> Situation:
    """Return facts that include the delivery windows."""
    windows = windows_of(settings)
    if windows is None:
        return facts

    def open_for(age: float, enough: float) -> float:
        return windows.open_within(now - age, now, enough)

    closed = None if windows.is_open(now) else f"window closed {windows.until(now)}"
    hours = Hours(closed and f"{closed} ({windows.timezone})", open_for)
    return replace(facts, hours=hours)


def sentence(settings: Settings, now: float) -> str | None:
    """Return a sentence on whether a delivery window is open; None without windows."""
    if not settings.schedule.windows:
        return None
    windows = windows_of(settings)
    if windows is None:
        return "the configured delivery windows are invalid; see: shipper check"
    return windows.describe(now)


def until(settings: Settings, now: float) -> str | None:
    """Return until when every delivery window is closed; None while one is open."""
    windows = windows_of(settings)
    if windows is None or windows.is_open(now):
        return None
    return f"({windows.timezone}) {windows.until(now)}"


def windows_of(settings: Settings) -> "Windows | None":
    """Return the delivery windows of a configuration; None without any, or for invalid ones."""
    if not settings.schedule.windows:
        return None
    from shipper.config.windows import Windows  # noqa: PLC0415 - loads slowly

    try:
        return Windows.of(settings)
    except ConfigError:  # see above
        return None

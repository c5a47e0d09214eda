"""The states of a link, by the names that everybody sees. What each means: `link`."""

from enum import Enum


class State(Enum):
    """What `status` shows of a link."""

    READY = "ready"
    RAMPING = "ramping"
    OFFLINE = "offline"
    THROTTLED = "throttled"
    PAUSED = "paused"
    HELD = "held"

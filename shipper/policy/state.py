"""The states of a link, by their public names. `link` decides when a link enters each."""

from enum import Enum


class State(Enum):
    """The state of a link as `status` shows it."""

    READY = "ready"
    RAMPING = "ramping"
    OFFLINE = "offline"
    THROTTLED = "throttled"
    PAUSED = "paused"
    HELD = "held"

    # A member is the only one with its name; Enum would hash the name, which costs a call.
    __hash__ = object.__hash__

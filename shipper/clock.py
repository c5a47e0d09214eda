"""The only source of time and randomness, and the format of times.

Every decision takes both as arguments, so that a test or a simulation can replay it. Durations must
never be measured by the wall clock, which an administrator can set; wall time is for people and
rows.
"""

import random
import time
from datetime import UTC, datetime
from typing import Protocol

# When shipper began, as exactly as it can know. The kernel's start time of the process may be that
# of a shell that has replaced itself with shipper (exec).
BEGAN = time.clock_gettime(time.CLOCK_BOOTTIME)
# The wall time at the end of the year 9999: the last that a row can have.
LATEST = 253402300799.0


class Clock(Protocol):
    """Time and randomness for the rest of the program."""

    def wall(self) -> float:
        """Return the wall time, in seconds since 1970 UTC."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps and goes on while the machine sleeps."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


class SystemClock:
    """The machine's own clocks; CLOCK_BOOTTIME, because a suspended laptop's lease expires too."""

    def __init__(self) -> None:
        self._random = random.Random()

    def wall(self) -> float:
        """Return the wall time, in seconds since 1970 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since boot, suspended time included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def random(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()


def iso(wall: float) -> str:
    """Write a wall time as the database and `--json` show it: `2026-11-23T08:15:00.123Z`."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_iso(text: str) -> float:
    """Read what `iso` wrote; raises ValueError for a text that isn't an ISO 8601 time."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

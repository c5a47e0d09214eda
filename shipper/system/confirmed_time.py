"""The time of day, as far as the monotonic clock confirms it: what deletes and alarms goes by it.

It decides how much of a wall clock that somebody sets is believed. It must never say that a time
has passed which the monotonic clock hasn't seen pass: a machine whose clock steps 30 days ahead (no
battery and then NTP, a restored VM, a slip of `date -s`) must not lose what is kept for a week.

The rule: how far the wall clock is ahead of the monotonic one is noted all the time. For a period
of time, it was as little as it ever was within that period. Say a row is to stay for 7 days. After
a step forward, each row of before it is 7 days old by the monotonic clock at the earliest when the
step is 7 days old; from then on the new time is believed, and until then the old one goes on. After
a step back, rows are stamped by the lower clock; they must not be old at once when it is set right
again, and by the same rule they aren't. A clock that is right all the time is believed at once.

What was before the process began, an earlier one of the same boot may have noted (`clock_notes`).
Else the wall clock is believed, but not beyond the newest time that the outbox holds: that much has
passed for certain. So a machine that wakes up in the wrong year deletes nothing for it, either.

Whoever reads the wall clock, and what a step does there:

- deleting events (`retention`, also by `shipper prune`) and minutes (`minutes`), the alarm for the
  oldest pending event, the growth of the outbox: by this module;
- the delivery windows: the time of day is what they are about; they are looked at by the monotonic
  clock, as all chores are (`daemon.schedule`);
- waits, probes, Retry-After: monotonic in the process. Across two processes a time to try again is
  on disk; one too far off is not believed (`dispatcher.route`);
- `created_at`, the leases and the age of open transactions on PostgreSQL: the server's own clock,
  which nobody here sees step; nothing is deleted by them but what never had a try;
- what a person reads (logs, history, `since`), and the times that a person names.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from shipper.clock import Clock

# A wall clock that is slewed drifts by far less than this between two looks.
_TOLERANCE: Final = 1.0
# No time beyond the year 9999 can be written down, so none of there says anything.
_END: Final = 253402300799.0
# So many changes are remembered one by one.
_REMEMBERED: Final = 256


class Confirmed:
    """Compares the two clocks. Belongs to the event loop; somebody has to `look` all the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By how much the wall clock is ahead, and minus that: the least of it is the most.
        self._least, self._most = _Least(), _Least()
        self._floor: _Noted | None = None
        self._has_begun = False
        self._now = clock.monotonic()
        self.ahead = 0.0
        """By how much the wall clock was ahead of the other at the last look, in seconds."""
        self.look()

    def begin(self, newest: float | None, notes: object = None) -> None:
        """Take in, once, what is known from before this process.

        `newest` is the newest time in the outbox (seconds since 1970), None for an empty one;
        `notes` what an earlier process of this very boot had noted, None where there was none.
        """
        if not self._has_begun and not self._recall(notes) and newest is not None:
            self._floor = _Noted(self._now, newest - self._now)
            if newest < _END:
                self._most.add(self._now, self._now - newest)
        self._has_begun = True
        self.look()

    def notes(self) -> Mapping[str, list[list[float]]]:
        """Return all that is known, for a later process of this boot."""
        floor = [] if self._floor is None else [self._floor]
        known = {"least": self._least.noted, "most": self._most.noted, "floor": floor}
        return {name: [list(each) for each in noted] for name, noted in known.items()}

    def _recall(self, notes: object) -> bool:
        """Take notes over; return whether they are any, and not of another clock."""
        if not isinstance(notes, dict):
            return False
        try:
            least, most, floor = (
                [_Noted(float(until), float(value)) for until, value in notes[name]]
                for name in ("least", "most", "floor")
            )
        except (KeyError, TypeError, ValueError):
            return False
        if not least or not most or max(least[-1].until, most[-1].until) > self._now:
            return False
        self._least.follow(least)
        self._most.follow(most)
        self._floor = floor[0] if floor else None
        return True

    def look(self) -> None:
        """Compare the clocks."""
        self._now = self._clock.monotonic()
        self.ahead = self._clock.wall() - self._now
        self._least.add(self._now, self.ahead)
        self._most.add(self._now, -self.ahead)

    def at_least(self, within: float) -> float:
        """Return the time that it is at least, for what has to be `within` seconds old."""
        floor, seen = self._floor, self.unstepped(within)
        if floor is None or floor.until < self._now - within:
            return seen
        return min(seen, self._now + floor.value)

    def unstepped(self, within: float) -> float:
        """Return the time, without what it was set forward by in the last `within` seconds."""
        self.look()
        return self._now + self._least.since(self._now - within)

    def at_most(self, within: float) -> float:
        """Return the time that it is at most, by any clock that held within so many seconds."""
        self.look()
        return self._now - self._most.since(self._now - within)


class _Noted(NamedTuple):
    """Until when a value was in force."""

    until: float
    value: float


class _Least:
    """The least of what was noted since any moment; it never tells more than that.

    A value that was followed by a smaller one is forgotten: it can't be the least any more.
    """

    def __init__(self) -> None:
        self.noted: list[_Noted] = []

    def add(self, now: float, value: float) -> None:
        """Note what is in force now; times only grow."""
        noted = self.noted
        last = noted.pop() if noted else _Noted(now, value)
        if abs(value - last.value) < _TOLERANCE:
            value = min(value, last.value)
        elif value > last.value:
            noted.append(_Noted(now, last.value))  # in force until now, as far as anybody saw
        while noted and noted[-1].value >= value:
            noted.pop()
        noted.append(_Noted(now, value))
        if len(noted) > _REMEMBERED:
            # The smaller of two for as long as both were in force.
            oldest = noted.pop(0)
            noted[0] = _Noted(noted[0].until, oldest.value)

    def follow(self, before: Sequence[_Noted]) -> None:
        """Take in what was noted before."""
        since, self.noted = self.noted, list(before)
        for noted in since:
            self.add(*noted)

    def since(self, moment: float) -> float:
        """Return the least value that was in force then or later."""
        return next(n.value for n in self.noted if n.until >= moment)

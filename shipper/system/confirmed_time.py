"""The time of day as far as the monotonic clock confirms it; deletions and alarms use this time.

This module decides how far a step of the wall clock is believed. It must never say that time has
passed which the monotonic clock hasn't measured: if a clock steps 30 days ahead (no battery and
then NTP, a restored VM, a wrong `date -s`), a machine must not lose events that it keeps for a
week.

The rule: all the time, the module notes how far the wall clock is ahead of the monotonic clock. For
a period, it takes the smallest difference within that period. Say a row is kept for 7 days. After a
step forward, the new time is believed once the step itself is 7 days old by the monotonic clock:
only then is each earlier row 7 days old, too. Until then the old time goes on. After a step back,
rows carry the lower time; when the clock is set right again, the same rule keeps them from being
old at once. A clock that is right all the time is believed at once.

For the time before the process began, the notes of an earlier process of the same boot are used
(`clock_notes`). Without notes the wall clock is believed, but not beyond the newest time in the
outbox: that much time has passed for certain. So a machine that starts in the wrong year deletes
nothing because of that.

Where the wall clock is read, and what a step does there:

- deletion of events (`retention`, also by `shipper prune`) and of minutes (`minutes`), the alarm
  for the oldest pending event, the growth of the outbox: all use this module;
- delivery windows depend on the time of day itself; the schedule looks at them by the monotonic
  clock, as for all chores (`daemon.schedule`);
- waits, probes and Retry-After are monotonic within a process. Between two processes, the time of
  the next try is on disk; a time that is too far ahead isn't believed (`policy.delivery`,
  `drain.link_row`);
- on PostgreSQL, `created_at`, leases and the age of open transactions use the server's clock, and
  what another daemon has shipped carries the time of its machine. The steps of those clocks can't
  be seen here. So `retention` believes none of them alone: an event must be old by its stamp and by
  `created_at`, and the time now is that of this module or of the server, whichever is earlier;
- times that a person reads (logs, history, `since`), and times that a person enters.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from shipper.clock import Clock

# Seconds. A clock that is slewed drifts by far less than this between two looks.
_TOLERANCE: Final = 1.0
# The year 9999: no later time can be written down, so later times are ignored.
_END: Final = 253402300799.0
# The number of changes that are remembered one by one.
_REMEMBERED: Final = 256


class Confirmed:
    """Compares the two clocks. Belongs to the event loop, which must call `look` all the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # How far the wall clock is ahead, and the negative of that: its least is the most.
        self._least, self._most = _Least(), _Least()
        self._floor: _Noted | None = None
        self._has_begun = False
        self._now = clock.monotonic()
        self.ahead = 0.0
        """How far the wall clock was ahead of the monotonic clock at the last look, in seconds."""
        self.look()

    def begin(self, newest: float | None, notes: object = None) -> None:
        """Take in, once, the facts from before this process.

        `newest` is the newest time in the outbox (seconds since 1970), None if the outbox is empty.
        `notes` are those of an earlier process of this boot, None if there are none.
        """
        if not self._has_begun and not self._recall(notes) and newest is not None:
            self._floor = _Noted(self._now, newest - self._now)
            if newest < _END:
                self._most.add(self._now, self._now - newest)
        self._has_begun = True
        self.look()

    def notes(self) -> Mapping[str, list[list[float]]]:
        """Return everything that a later process of this boot needs."""
        floor = [] if self._floor is None else [self._floor]
        known = {"least": self._least.noted, "most": self._most.noted, "floor": floor}
        return {name: [list(each) for each in noted] for name, noted in known.items()}

    def _recall(self, notes: object) -> bool:
        """Take over notes; return whether they are valid and of the present clock."""
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
        """Return the earliest possible time, to judge what must be `within` seconds old."""
        floor, seen = self._floor, self.unstepped(within)
        if floor is None or floor.until < self._now - within:
            return seen
        return min(seen, self._now + floor.value)

    def unstepped(self, within: float) -> float:
        """Return the time without the steps forward of the last `within` seconds."""
        self.look()
        return self._now + self._least.since(self._now - within)

    def at_most(self, within: float) -> float:
        """Return the latest time that any clock can have shown in the last `within` seconds."""
        self.look()
        return self._now - self._most.since(self._now - within)


class _Noted(NamedTuple):
    """A value, and the time until which it held."""

    until: float
    value: float


class _Least:
    """The least value since any moment.

    A value that was followed by a smaller one is forgotten: it can't be the least any more.
    """

    def __init__(self) -> None:
        self.noted: list[_Noted] = []

    def add(self, now: float, value: float) -> None:
        """Note the present value; times only grow."""
        noted = self.noted
        last = noted.pop() if noted else _Noted(now, value)
        if abs(value - last.value) < _TOLERANCE:
            value = min(value, last.value)
        elif value > last.value:
            noted.append(_Noted(now, last.value))  # it held until now, as far as was observed
        while noted and noted[-1].value >= value:
            noted.pop()
        noted.append(_Noted(now, value))
        if len(noted) > _REMEMBERED:
            # The oldest two become one: the smaller value, for the time of both.
            oldest = noted.pop(0)
            noted[0] = _Noted(noted[0].until, oldest.value)

    def follow(self, before: Sequence[_Noted]) -> None:
        """Put earlier notes before the present ones."""
        since, self.noted = self.noted, list(before)
        for noted in since:
            self.add(*noted)

    def since(self, moment: float) -> float:
        """Return the least value at that moment or later."""
        return next(n.value for n in self.noted if n.until >= moment)

"""Which lane goes next: a line of heads that were never tried, and a line of heads that failed.

The heads that failed get a share of the places in flight. It is an eighth at first. It grows by one
for each of them that is accepted, and shrinks by one for each that fails again: a receiver that is
partly down and answers late must not take the places of the events that it accepts. At most twice
the share of such lanes is loaded at a time, so that they don't fill the window either. The others
go on waiting.

It must never keep a line waiting for ever: within the share, the lane that came first goes first.
"""

from collections import deque

from shipper.policy.lanes.lane import Lane
from shipper.policy.lanes.phase import IDLE, IN_FLIGHT, READY

LEAST_SHARE = 8
LOADED_PER_PLACE = 2


class Ready:
    """The lanes whose head can be sent; `places` is how many can be in flight at once."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._share = self._least = max(1, places // LEAST_SHARE)
        self._fresh: deque[Lane] = deque()
        self._again: deque[Lane] = deque()
        self._trying = 0  # in flight, from the second line
        self._woken = 0
        self._order = 0

    def __len__(self) -> int:
        """Return how many lanes could start an event now."""
        return len(self._fresh) + len(self._again)

    # -- the lines ----------------------------------------------------------------------------

    def put(self, lane: Lane) -> None:
        """Put a lane at the end of its line, unless it stands there already."""
        if lane.phase is not READY:
            lane.enter(READY)
        if not lane.queued:
            lane.queued = True
            self._order += 1
            lane.place = self._order
            self._line_of(lane).append(lane)

    def put_first(self, lane: Lane) -> None:
        """Move a lane to the front, before all others of both lines."""
        self._line_of(lane).remove(lane)
        lane.place = 0
        self._fresh.appendleft(lane)

    def take(self, *, probing: bool) -> Lane | None:
        """Remove and return the next lane; for a probe, prefer a head that was never tried."""
        while line := self._next_line(probing=probing):
            lane = line.popleft()
            lane.queued = False
            if lane.phase is READY:  # otherwise it was unloaded while it stood in line
                lane.again = line is self._again
                return lane
        return None

    def _line_of(self, lane: Lane) -> deque[Lane]:
        return self._again if lane.woken or lane.head.failed else self._fresh

    def _next_line(self, *, probing: bool) -> deque[Lane]:
        if not self._again or not self._fresh:
            return self._fresh or self._again
        is_first = self._again[0].place < self._fresh[0].place
        is_next = is_first and not probing and self._trying < self._share
        return self._again if is_next else self._fresh

    # -- the share ----------------------------------------------------------------------------

    def set_places(self, places: int) -> None:
        """Let so many lanes be in flight at once from now on."""
        self._places = places
        self._least = max(1, places // LEAST_SHARE)
        self._share = min(max(self._share, self._least), places)

    def fly(self, lane: Lane) -> None:
        """Record that the head of a lane is in flight."""
        lane.enter(IN_FLIGHT)
        self._trying += lane.again

    def land(self, lane: Lane, *, better: int = 0) -> None:
        """Record that the head isn't in flight any more; `better` changes the share."""
        lane.enter(IDLE)
        if lane.again:
            lane.again = False
            self._trying -= 1
            self._share = min(max(self._share + better, self._least), self._places)

    def end(self, lane: Lane) -> None:
        """Record that the try ended the head: the share grows."""
        self.land(lane, better=1)
        if lane.woken:
            self.calm(lane)

    def may_wake(self) -> bool:
        """Return whether another waiting lane can be loaded."""
        return self._woken < LOADED_PER_PLACE * self._share

    def wake(self, lane: Lane) -> None:
        """Count a lane whose wait is over."""
        self._woken += not lane.woken
        lane.woken = True

    def calm(self, lane: Lane) -> None:
        """Stop counting a lane: its head has ended, it waits again, or it is forgotten."""
        self._woken -= lane.woken
        lane.woken = False

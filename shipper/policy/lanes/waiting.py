"""The lanes that wait until their time, in the order of these times; at most `most` of them. Pure.

A lane can be woken before its time. Its entries are void then: they are skipped when they come up,
and removed when they are more than the valid ones. It must never return a lane because of a
void entry.
"""

from heapq import heapify, heappop, heappush

from shipper.policy.lanes.lane import Lane
from shipper.policy.lanes.phase import IDLE, WAITING

AT_ONCE = 0.0
"""A time that has always come."""

_VOID = 64  # this number of entries can be void, however few lanes wait


class Waiting:
    """Heaps of lanes by `due`, monotonic seconds; an entry is valid if the lane's `due` agrees."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._order = 0  # breaks ties
        self._heap: list[tuple[float, int, Lane]] = []
        self._last: list[tuple[float, int, Lane]] = []  # by -due: the longest first

    def put(self, lane: Lane, due: float) -> tuple[Lane | None, float]:
        """Let a lane wait until `due`; if too many wait, return the one that waits the longest.

        Return the end of its wait as well. The caller can forget that lane, because the outbox
        knows when its head is due.
        """
        lane.enter(WAITING)
        self._count += 1
        self._push(lane, due)
        if self._count <= self._most:
            return None, due
        while -self._last[0][0] != self._last[0][2].due:
            heappop(self._last)
        return self._last[0][2], -self._last[0][0]

    def wake(self, lane: Lane) -> None:
        """End the wait of a lane."""
        lane.enter(IDLE)
        lane.due = None
        self._count -= 1

    def next_due(self) -> float | None:
        """Return when the first lane can go on; None if no lane waits."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def first_due(self, now: float) -> Lane | None:
        """Return the lane whose time came first; None if no time has come."""
        due = self.next_due()
        return None if due is None or due > now else self._heap[0][2]

    def hurry_uncharged(self) -> None:
        """Make due the lanes whose event wasn't charged, although their rows say a later time."""
        for due, _, lane in list(self._heap):
            if lane.due == due and not lane.charged and not lane.hurried:
                lane.hurried = True
                self._push(lane, AT_ONCE)

    def _push(self, lane: Lane, due: float) -> None:
        lane.due = due
        self._order += 1
        heappush(self._heap, (due, self._order, lane))
        heappush(self._last, (-due, -self._order, lane))
        if max(len(self._heap), len(self._last)) > _VOID + 2 * self._count:
            self._heap = [entry for entry in self._heap if entry[2].due == entry[0]]
            self._last = [(-due, -order, lane) for due, order, lane in self._heap]
            heapify(self._heap)
            heapify(self._last)

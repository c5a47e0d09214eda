"""The lanes that wait for their time, in its order: at most `most` of them, whatever happens.

A lane may be woken before its time; its entry here is then void, and passed over when it comes up.
"""

from heapq import heappop, heappush

from shipper.lane.lane import Lane

AT_ONCE = 0.0
"""A moment that has come, whatever the time."""


class Waiting:
    """A heap by `due`, in monotonic seconds; which lanes wait, their own `due` says."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._order = 0  # breaks ties
        self._heap: list[tuple[float, int, Lane]] = []

    def is_full(self) -> bool:
        """Return whether no more lanes are to be remembered."""
        return self._count >= self._most

    def put(self, lane: Lane, due: float) -> None:
        """Let a lane wait until `due`."""
        self._count += 1
        self._push(lane, due)

    def wake(self, lane: Lane) -> None:
        """Let a lane wait no longer."""
        lane.due = None
        self._count -= 1

    def first(self) -> Lane | None:
        """Return the lane whose time comes first."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def hurry_uncharged(self) -> None:
        """Let those go, although their row says when, whose event wasn't charged."""
        for due, _, lane in list(self._heap):
            if lane.due == due and not lane.charged and not lane.hurried:
                lane.hurried = True
                self._push(lane, AT_ONCE)

    def _push(self, lane: Lane, due: float) -> None:
        lane.due = due
        self._order += 1
        heappush(self._heap, (due, self._order, lane))

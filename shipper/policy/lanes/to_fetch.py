"""The lanes that are to be fetched by their key, first come, first served. Pure.

It must never have a lane twice, or return a lane that has been forgotten.
"""

from collections import deque

from shipper.policy.lanes.lane import Lane
from shipper.policy.lanes.phase import FETCHING, TO_FETCH


class ToFetch:
    """A line of lanes; each is in the phase TO_FETCH or was forgotten in line."""

    def __init__(self) -> None:
        self._line: deque[Lane] = deque()

    def __len__(self) -> int:
        """Return how many lanes stand in line, with those that were forgotten."""
        return len(self._line)

    def put(self, lane: Lane) -> None:
        """Put a lane at the end, unless it stands there already."""
        if lane.phase is not TO_FETCH:
            lane.enter(TO_FETCH)
            self._line.append(lane)

    def take(self, most: int) -> list[Lane]:
        """Remove and return the first lanes, at most `most`; the caller asks for their rows now."""
        taken: list[Lane] = []
        while self._line and len(taken) < most:
            lane = self._line.popleft()
            if lane.phase is TO_FETCH:
                lane.enter(FETCHING)
                lane.incomplete = lane.stale = False
                taken.append(lane)
        return taken

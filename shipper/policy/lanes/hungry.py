"""The lanes that are to be fetched by their key, because what was loaded of them is used up. Pure.

It must never have a lane twice, nor give one that is no longer known.
"""

from collections import deque
from collections.abc import Mapping

from shipper.policy.lanes.lane import Lane, Name


class Hungry:
    """A line; who came first is fetched first."""

    def __init__(self) -> None:
        self._line: deque[Lane] = deque()

    def __len__(self) -> int:
        """Return how many lanes stand in it, at most."""
        return len(self._line)

    def put(self, lane: Lane) -> None:
        """Put a lane at the end, unless it stands there."""
        if not lane.hungry:
            lane.hungry = True
            self._line.append(lane)

    def take(self, most: int, known: Mapping[Name, Lane]) -> list[Lane]:
        """Return the first lanes, of those that are known; their page is to be asked for now."""
        taken: list[Lane] = []
        while self._line and len(taken) < most:
            lane = self._line.popleft()
            lane.hungry = False
            if known.get(lane.name) is lane:
                lane.fetching = True
                lane.more = lane.stale = False
                taken.append(lane)
        return taken

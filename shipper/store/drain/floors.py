"""From which id on the daemon looks for the beginning of a lane (PostgreSQL).

Entries of delivered events stay in a lane's index until they are vacuumed, and no vacuum can remove
them while any transaction holds a snapshot. So each look at a lane remembers where the lane's first
pending event was, and the next look begins there. It must never remember more than a look has
shown. It must forget everything when an earlier event may be pending again: after an operator's
command, and when the daemon scans from the beginning.
"""

from collections import OrderedDict

_MOST = 4096

LaneName = tuple[str, str]


class Floors:
    """For each lane (destination and key), the id up to which nothing is pending."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._floors: OrderedDict[LaneName, int] = OrderedDict()

    def of(self, lane: LaneName) -> int:
        """Return the id after which to look; 0 for an unknown lane."""
        return self._floors.get(lane, 0)

    def learn(self, lane: LaneName, floor: int) -> None:
        """Remember that nothing is pending up to an id; forget the oldest of too many lanes."""
        self._floors[lane] = floor
        self._floors.move_to_end(lane)
        if len(self._floors) > self._most:
            self._floors.popitem(last=False)

    def forget(self) -> None:
        """Forget all lanes."""
        self._floors.clear()

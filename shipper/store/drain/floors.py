"""From which id on to look for the beginning of a lane (PostgreSQL).

What was delivered of a lane stays in its index until it is vacuumed, and that can't be while
anybody holds a snapshot. So who has looked at a lane remembers where its first pending event was,
and looks no further back. It must never remember more than a look has shown, and nothing once
somebody may have made an earlier event pending again: an operator's command, or whoever scans from
the beginning because that may be so.
"""

from collections import OrderedDict

_MOST = 4096

Lane = tuple[str, str]


class Floors:
    """By lane (destination and key), the id up to which nothing is pending."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._floors: OrderedDict[Lane, int] = OrderedDict()

    def of(self, lane: Lane) -> int:
        """Return the id after which to look; 0 for a lane that isn't known."""
        return self._floors.get(lane, 0)

    def learn(self, lane: Lane, floor: int) -> None:
        """Take in that nothing is pending up to an id; of too many the oldest is forgotten."""
        self._floors[lane] = floor
        self._floors.move_to_end(lane)
        if len(self._floors) > self._most:
            self._floors.popitem(last=False)

    def forget(self) -> None:
        """Know of no lane any more."""
        self._floors.clear()

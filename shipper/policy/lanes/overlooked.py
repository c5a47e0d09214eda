"""The lanes that wait and that nobody remembers: when the first may go on, and roughly which. Pure.

A megabyte of bits says of each lane whether it may be one of them (a Bloom filter, CACM 13(7),
1970): of those that were added always yes, of one in some hundred thousand others too. Of another
`salt` others are taken for them: none is for long.

It must never say no of a lane that was added since the last `clear`.
"""

from shipper.policy.lanes.lane import Name

_BYTES = 1 << 20
_MASK = (_BYTES << 3) - 1
_BITS_PER_LANE = 4


class Overlooked:
    """A set that may say yes of what isn't in it, in a memory that doesn't grow."""

    def __init__(self) -> None:
        self.due: float | None = None
        """When the first of them may go on, in monotonic seconds; None where there is none."""
        self._bits = bytearray()
        self._salt = 0

    def add(self, lane: Name, due: float) -> None:
        """Leave a lane to the next sweep."""
        self.due = due if self.due is None else min(due, self.due)
        self._bits = self._bits or bytearray(_BYTES)
        for bit in self._places(lane):
            self._bits[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, lane: Name) -> bool:
        """Return whether a lane may have been added."""
        if self.due is None:
            return False
        return all(self._bits[bit >> 3] >> (bit & 7) & 1 for bit in self._places(lane))

    def clear(self) -> None:
        """Begin anew."""
        self.due = None
        self._bits = bytearray()
        self._salt += 1

    def _places(self, lane: Name) -> list[int]:
        value = hash((self._salt, lane))
        step = value >> 24 | 1
        return [(value + n * step) & _MASK for n in range(_BITS_PER_LANE)]

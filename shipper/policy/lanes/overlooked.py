"""The waiting lanes beyond the bound: when the first of them goes on, and roughly which. Pure.

A megabyte of bits says whether a lane may be one of them (a Bloom filter, CACM 13(7), 1970). For a
lane that was added the answer is always yes; for about one other lane in a hundred thousand it is
yes as well. Each `clear` changes the `salt`: then the answer is wrong for other lanes.

It must never answer no for a lane that was added since the last `clear`.
"""

from shipper.policy.lanes.lane import Name

_BYTES = 1 << 20
_MASK = (_BYTES << 3) - 1
_BITS_PER_LANE = 4


class Overlooked:
    """A set of bounded size, which may answer yes for a lane that isn't in it."""

    def __init__(self) -> None:
        self.due: float | None = None
        """When the first of them goes on, in monotonic seconds; None if there is none."""
        self._bits = bytearray()
        self._salt = 0

    def add(self, lane: Name, due: float) -> None:
        """Add a lane that waits until `due`: the next sweep finds it."""
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
        """Forget all lanes, and change the salt."""
        self.due = None
        self._bits = bytearray()
        self._salt += 1

    def _places(self, lane: Name) -> list[int]:
        value = hash((self._salt, lane))
        step = value >> 24 | 1
        return [(value + n * step) & _MASK for n in range(_BITS_PER_LANE)]

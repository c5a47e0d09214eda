"""Which lanes leave, because their shards go to another daemon. Pure.

A lane that leaves starts nothing more. What is loaded of it is let go as soon as nothing of it is
in flight, and then it is forgotten. If its shard comes back before that, it is fetched again.

It must never say that nothing is left of a shard while an event of it is loaded, asked for or in
flight.
"""

from collections.abc import Iterable

from shipper.policy.lanes.lane import UNKNOWN, Lane
from shipper.policy.lanes.phase import FORGOTTEN
from shipper.policy.shares import ALL_SHARDS


class Handover:
    """The shards whose lanes can go, and the lanes that leave."""

    def __init__(self) -> None:
        self.kept: frozenset[int] | None = None
        """The shards whose lanes can go; None for all, which costs nothing."""
        self._leaving: list[Lane] = []

    def keeps(self, shard: int) -> bool:
        """Return whether the lanes of a shard can go."""
        return self.kept is None or shard in self.kept

    def keep_only(self, shards: frozenset[int], lanes: Iterable[Lane]) -> list[Lane]:
        """Note which of all lanes leave and which stay; return those that leave.

        A lane whose shard isn't known yet stays, as long as anything stays: its rows will say it.
        """
        self.kept = None if shards == ALL_SHARDS else shards
        self._leaving = []
        for lane in lanes:
            lane.leaves = lane.shard not in shards and (lane.shard != UNKNOWN or not shards)
            if lane.leaves:
                lane.stale = lane.incomplete = True
                self._leaving.append(lane)
        return self._leaving

    def open_shards(self) -> set[int]:
        """Return the shards of which something has still to end, or to be let go."""
        self._leaving = [lane for lane in self._leaving if lane.phase is not FORGOTTEN]
        return {lane.shard for lane in self._leaving}

"""The lanes of a destination, and which phase a lane enters next. Pure.

It decides where a lane goes when something of it has ended: in line to be sent, in line to be
fetched, to those that wait, or nowhere. It must never forget a lane of which something is loaded,
asked for or in flight.
"""

from math import inf

from shipper.policy.lanes.failed import Failed
from shipper.policy.lanes.handover import Handover
from shipper.policy.lanes.lane import Lane, Name
from shipper.policy.lanes.loaded import Loaded
from shipper.policy.lanes.overlooked import Overlooked
from shipper.policy.lanes.phase import FETCHING, FORGOTTEN
from shipper.policy.lanes.ready import Ready
from shipper.policy.lanes.to_fetch import ToFetch
from shipper.policy.lanes.waiting import Waiting


class LaneMoves:
    """What `Lanes` is made of.

    `window` and `bytes_max` bound the loaded events, `depth` those of one lane, and `places` those
    in flight. `waiting_max` bounds the lanes that wait: if there are more, those that wait the
    longest are overlooked until the next sweep.
    """

    def __init__(
        self,
        window: int,
        depth: int,
        *,
        places: int = 64,
        bytes_max: int = 32 << 20,
        waiting_max: int = 50_000,
    ) -> None:
        self.depth = depth
        self.loaded = Loaded(window, bytes_max)
        self.held: set[Name] = set()
        """The known lanes that are held. Each row of an unknown lane says whether it is held."""
        self.overlooked = Overlooked()
        self.skipped = Overlooked()
        """Unknown lanes with rows that were skipped as held: a later row isn't their first."""
        self.sweep = 0  # the number of the sweep that runs; 0 if none does
        self._lanes: dict[Name, Lane] = {}
        self._ready = Ready(places)
        self.handover = Handover()
        self.to_fetch = ToFetch()
        self._waiting = Waiting(waiting_max)
        self._failed = Failed()

    def _expect(self, lane: Lane, row: int) -> None:
        lane.claiming += 1
        lane.last_id = max(lane.last_id, row)
        self.loaded.expect(row)

    def _place(self, lane: Lane) -> None:
        """Put a lane in line to be sent or fetched, or forget it; not before what it waits for."""
        if lane.claiming or lane.phase >= FETCHING:
            return
        held = lane.name in self.held
        if held or lane.stale:
            self._unload(lane)
        if lane.queue:
            self._ready.put(lane)
        elif lane.incomplete and not (held or lane.leaves):
            self.to_fetch.put(lane)
        else:
            if held:
                self.skipped.add(lane.name, inf)
            self._forget(lane)

    def _forget(self, lane: Lane) -> None:
        self._ready.calm(lane)
        self._failed.remember(lane.streak)
        lane.enter(FORGOTTEN)
        del self._lanes[lane.name]
        self.held.discard(lane.name)

    def _unload(self, lane: Lane) -> None:
        while lane.queue:
            self.loaded.let_go(lane.queue.pop(0))
        lane.last_id = 0
        self.loaded.keep_no_longer(lane)

    def _sleep(self, lane: Lane, head: int, due: float, *, charged: bool) -> None:
        self._ready.calm(lane)
        if lane.stale:  # an event that came back goes before the head, and can go at once
            self._place(lane)
            return
        lane.charged = charged
        if not lane.kept:
            lane.last_id, lane.incomplete = head, True
        longest, until = self._waiting.put(lane, due)
        if longest is not None and not longest.claiming:
            self._waiting.wake(longest)
            self._unload(longest)
            self.overlooked.add(longest.name, until)
            self._forget(longest)

    def _wake(self, lane: Lane) -> None:
        self._waiting.wake(lane)
        self._ready.wake(lane)
        self.loaded.keep_no_longer(lane)
        self._place(lane)

"""All lanes of a destination: which are loaded, which go next, and which wait until when. Pure.

It decides which row is claimed, and which phase each lane enters. It must never claim a row unless
the row certainly follows the loaded ones.
"""

from collections.abc import Iterable, Sequence
from itertools import takewhile
from math import inf

from shipper.policy.event import Event
from shipper.policy.lanes.lane import Candidate, Lane, Name
from shipper.policy.lanes.moves import LaneMoves
from shipper.policy.lanes.phase import IDLE, IN_FLIGHT, READY, WAITING
from shipper.policy.lanes.waiting import AT_ONCE


class Lanes(LaneMoves):
    """All lanes of a destination that are loaded or waiting.

    The bounds are those of `LaneMoves`.
    """

    # -- what the drain asks ------------------------------------------------------------------

    def startable(self) -> int:
        """Return how many lanes stand in line to be sent, with void entries."""
        return len(self._ready)

    def is_empty(self) -> bool:
        """Return whether nothing is loaded, waiting or to be fetched."""
        return not self._lanes and self.overlooked.due is None

    def has_to_fetch(self) -> bool:
        """Return whether a lane is to be fetched and there is room for it."""
        return bool(self.to_fetch) and self.loaded.room() > 0

    def next_due(self) -> float | None:
        """Return when the next wait ends, in monotonic seconds; None if nothing waits for time."""
        return self._waiting.next_due() if self._ready.may_wake() else None

    # -- loading ------------------------------------------------------------------------------

    def takes(
        self, row: Candidate, now: float, *, sure: bool = True, sweep: int = 0, tail: bool = False
    ) -> bool:
        """Take in a row of the `tail`, or of sweep number `sweep`; return whether to claim it.

        `sure` says that every pending row before it has been seen: so the first row of an unknown
        lane is its beginning. A lane that the sweep has begun may have rows before the tail's.
        """
        if row.id in self.loaded or not self.handover.keeps(row.shard):
            return False
        lane = self._lanes.get(row.lane)
        if row.held or row.lane in self.held:
            if lane is None:
                self.skipped.add(row.lane, inf)
            else:
                lane.incomplete = True
            return False
        if lane is None:
            return self._meet(row, now, sure or isinstance(row.lane, int))
        if row.id < lane.last_id:
            lane.stale = lane.incomplete = True
            if lane.phase is WAITING and row.wait <= 0:
                self._wake(lane)
            return False
        is_early = tail and 0 < lane.begun_by == self.sweep
        if is_early or lane.is_shut(self.depth) or row.wait > 0:
            lane.incomplete = True
            if sweep and lane.phase is WAITING and not lane.kept and lane.meets(row, sweep):
                self._wake(lane)
            return False
        self._expect(lane, row.id)
        return True

    def _meet(self, candidate: Candidate, now: float, sure: bool) -> bool:  # noqa: FBT001
        if candidate.lane in self.overlooked:
            return False
        lane = Lane(candidate.lane, begun_by=self.sweep, shard=candidate.shard)
        self._lanes[candidate.lane] = lane
        if candidate.wait > 0 or candidate.failed:
            self._sleep(lane, candidate.id, now + candidate.wait, charged=True)
            return False
        if sure and candidate.lane not in self.skipped:
            self._expect(lane, candidate.id)
            return True
        lane.incomplete = True
        self._place(lane)
        return False

    def take_page(self, lane: Lane, page: Sequence[Candidate], limit: int, now: float) -> list[int]:
        """Take in the first rows of one lane; return the ids to claim.

        A page with fewer rows than `limit` is the whole lane.
        """
        lane.enter(IDLE)
        if page:
            lane.shard = page[0].shard
            lane.leaves = not self.handover.keeps(lane.shard)
        if lane.leaves:
            page = []
        if page and page[0].held:
            self.held.add(lane.name)
            page = []
        if lane.hurried and page:
            page = [page[0]._replace(wait=0.0), *page[1:]]
        lane.hurried, lane.begun_by = False, 0
        if page and (page[0].wait > 0 or (page[0].failed and not lane.woken)):
            self._sleep(lane, page[0].id, now + page[0].wait, charged=True)
            return []
        wanted = [row.id for row in takewhile(lambda row: row.wait <= 0, page)]
        lane.incomplete = lane.incomplete or len(page) >= limit or len(wanted) < len(page)
        for row in wanted:
            self._expect(lane, row)
        self._place(lane)
        return wanted

    def load(self, event: Event) -> None:
        """Put a claimed event at the end of its lane."""
        lane = self._lanes[event.lane]
        lane.claiming -= 1
        lane.queue.append(event)
        if event.failed:
            lane.streak = lane.streak or self._failed.streak_of(event)
        self.loaded.arrive(event)
        if lane.gap:
            self.loaded.let_go(lane.queue.pop())
            lane.gap = lane.claiming > 0
        if not lane.claiming:
            self._place(lane)

    def missed(self, name: Name, row: int) -> None:
        """Record that a row could not be claimed: the turn had no room for it, or it is gone."""
        lane = self._lanes[name]
        lane.claiming -= 1
        lane.incomplete = True
        lane.gap = lane.claiming > 0
        self.loaded.miss(row)
        self._place(lane)

    # -- from start to end --------------------------------------------------------------------

    def start(self, *, probing: bool = False) -> Lane | None:
        """Return the lane whose head goes next and is in flight now; None if no lane can start."""
        while (lane := self._ready.take(probing=probing)) is not None:
            if lane.stale or lane.name in self.held:
                lane.enter(IDLE)
                self._place(lane)
            else:
                self._ready.fly(lane)
                lane.hurried = False
                return lane
        return None

    def finish(self, lane: Lane) -> None:
        """Remove the head, because its end is recorded; the next event of the lane can go."""
        self._ready.end(lane)
        self.loaded.end(lane.queue.pop(0))
        lane.streak = None
        self._place(lane)

    def retry(self, lane: Lane, head: Event, *, first: bool) -> None:
        """Put the lane back in line at once; `first` puts it before all other lanes."""
        self._ready.land(lane)
        lane.queue[0] = head
        self._place(lane)
        if first and lane.phase is READY:
            self._ready.put_first(lane)

    def postpone(
        self, lane: Lane, due: float, *, charged: bool, stays: Event | None = None
    ) -> bool:
        """Let the lane wait until `due`; return whether its events stay loaded.

        They do if `stays` is given, the head as it is after the failure, and if there is room.
        """
        self._ready.land(lane, better=-1)
        head = lane.head.id
        is_well = not (lane.stale or lane.gap or lane.name in self.held)
        if stays is not None and is_well and self.loaded.may_keep(lane):
            lane.queue[0] = stays
            self.loaded.keep(lane)
        else:
            lane.gap = lane.claiming > 0
            self._unload(lane)
        self._sleep(lane, head, due, charged=charged)
        return lane.kept > 0

    def wake_due(self, now: float) -> None:
        """Wake the lanes whose time has come, as many as the share of failed heads allows."""
        while self._ready.may_wake() and (lane := self._waiting.first_due(now)) is not None:
            self._wake(lane)

    def wake_uncharged(self) -> None:
        """Wake the lanes that wait after a failure which wasn't charged to their event."""
        self._waiting.hurry_uncharged()
        self.wake_due(AT_ONCE)

    def loaded_keys(self) -> list[str]:
        """Return the keys of the lanes with events that are loaded or asked for."""
        lanes = (lane for lane in self._lanes.values() if lane.queue or lane.claiming)
        return [lane.name for lane in lanes if isinstance(lane.name, str)]

    def hold(self, keys: Iterable[str]) -> None:
        """Hold these of the loaded keys and no other; an event in flight ends first."""
        self.held.clear()
        for key in keys:
            self.hold_one(key)

    def hold_one(self, key: str) -> None:
        """Hold one more key, if its lane is known."""
        if (lane := self._lanes.get(key)) is not None:
            self.held.add(key)
            self._place(lane)

    def refetch(self, name: Name) -> None:
        """Fetch a lane again from its beginning: an operator has changed one of its events."""
        lane = self._lanes.setdefault(name, Lane(name))
        lane.stale = lane.incomplete = True
        self.held.discard(name)  # the fetched rows say whether it is held
        if lane.phase is WAITING:
            self._wake(lane)
        else:
            self._place(lane)

    def keep_only(self, shards: frozenset[int]) -> list[Lane]:
        """Let the lanes of all other shards leave; return them, with those that leave already.

        The caller stops asking for their rows.
        """
        leaving = self.handover.keep_only(shards, self._lanes.values())
        for lane in leaving:
            if lane.phase is WAITING:
                self._wake(lane)
            else:
                self._place(lane)
        return leaving

    def sweep_anew(self, sweep: int) -> None:
        """Let another sweep take the place of the one that runs, if one runs.

        What that one has begun, the new one has begun: it hasn't seen the rest of it either.
        """
        for lane in self._lanes.values():
            if 0 < lane.begun_by == self.sweep:
                lane.begun_by = sweep
        self.begin_sweep(sweep)

    def begin_sweep(self, sweep: int) -> None:
        """Forget what was overlooked and skipped: this sweep finds it."""
        self.sweep = sweep
        self.overlooked.clear()
        self.skipped.clear()

    def set_places(self, places: int) -> None:
        """Let so many events be in flight at once from now on."""
        self._ready.set_places(places)

    def unload_all(self) -> None:
        """Unload everything that isn't in flight."""
        for lane in list(self._lanes.values()):
            lane.stale = lane.incomplete = True
            if lane.phase is not IN_FLIGHT:
                self._unload(lane)
            self._place(lane)

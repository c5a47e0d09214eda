"""All lanes of a destination: what is loaded, who may go, who waits and until when."""

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from itertools import takewhile

from shipper.event import Event
from shipper.lane.lane import Candidate, Lane, Name


class Lanes:
    """All lanes of a destination that are loaded or waiting.

    `window` and `bytes_max` bound the events loaded, `depth` those of one lane, `waiting_max` the
    lanes that wait for their time (beyond it the scan stops, rather than the memory growing).
    """

    def __init__(
        self, window: int, depth: int, *, bytes_max: int = 32 << 20, waiting_max: int = 50_000
    ) -> None:
        self.window = window
        self.depth = depth
        self.bytes_max = bytes_max
        self.waiting_max = waiting_max
        self.bytes = 0
        self.held: frozenset[str] = frozenset()
        self._lanes: dict[Name, Lane] = {}
        self._loaded: set[int] = set()  # ids that are claimed, or about to be
        self._released: list[int] = []
        self._ready: deque[Lane] = deque()
        self._hungry: deque[Lane] = deque()
        self._due: list[tuple[float, int, Lane]] = []
        self._order = 0  # breaks ties in the heap
        self._waiting = 0

    # -- what the drain asks ------------------------------------------------------------------

    def room(self) -> int:
        """Return how many more events may be loaded."""
        return 0 if self.bytes >= self.bytes_max else max(0, self.window - len(self._loaded))

    def may_scan(self, rows: int) -> bool:
        """Return whether to look further ahead: there is room for so many rows, not for a few.

        Nor are more lanes remembered that wait, once they are a crowd.
        """
        return self.room() >= min(rows, self.window) and self._waiting < self.waiting_max

    def startable(self) -> int:
        """Return how many lanes could start an event now."""
        return len(self._ready)

    def is_empty(self) -> bool:
        """Return whether nothing is loaded, waiting or to be fetched."""
        return not self._lanes

    def has_hungry(self) -> bool:
        """Return whether a lane is to be fetched and there is room for it."""
        return bool(self._hungry) and self.room() > 0

    def next_due(self) -> float | None:
        """Return when the next waiting lane may go on, in monotonic seconds."""
        while self._due and self._due[0][2].due != self._due[0][0]:
            heappop(self._due)
        return self._due[0][0] if self._due else None

    def take_released(self) -> list[int]:
        """Return the ids that are loaded no more, so that their claim can be let go."""
        released, self._released = self._released, []
        return released

    def has_released(self) -> bool:
        """Return whether there are such ids."""
        return bool(self._released)

    # -- loading ------------------------------------------------------------------------------

    def offer(self, candidates: Iterable[Candidate], now: float) -> list[int]:
        """Take in a page of a scan, in the order of the rows; return the ids to claim."""
        return [c.id for c in candidates if c.id not in self._loaded and self._wants(c, now)]

    def _wants(self, candidate: Candidate, now: float) -> bool:
        if candidate.lane in self.held:
            return False
        lane = self._lanes.get(candidate.lane)
        if lane is None:
            lane = self._lanes[candidate.lane] = Lane(candidate.lane)
            if candidate.wait > 0:
                self._sleep(lane, candidate.id, now + candidate.wait, charged=True)
                return False
        elif candidate.id < lane.last_id:
            lane.stale = lane.more = True
            if lane.due is not None and candidate.wait <= 0:
                self._wake(lane)
            return False
        elif self._must_skip(lane) or candidate.wait > 0:
            lane.more = True
            return False
        self._expect(lane, candidate.id)
        return True

    def take_page(self, lane: Lane, page: Sequence[Candidate], limit: int, now: float) -> list[int]:
        """Take in what the database has of one lane, from its beginning; return the ids to claim.

        A page shorter than `limit` is all there is.
        """
        lane.fetching = False
        if lane.hurried and page:
            page = [page[0]._replace(wait=0.0), *page[1:]]
        lane.hurried = False
        wanted = [c.id for c in takewhile(lambda c: c.wait <= 0, page)]
        lane.more = lane.more or len(page) >= limit or len(wanted) < len(page)
        if page and not wanted:
            self._sleep(lane, page[0].id, now + page[0].wait, charged=True)
        for row in wanted:
            self._expect(lane, row)
        self._settle_in(lane)
        return wanted

    def load(self, event: Event) -> None:
        """Put a claimed event at the end of its lane."""
        lane = self._lanes[event.lane]
        lane.claiming -= 1
        lane.queue.append(event)
        self.bytes += len(event.payload)
        if lane.gap:
            self._drop(lane.queue.pop())
        lane.gap = lane.gap and lane.claiming > 0
        self._settle_in(lane)

    def missed(self, name: Name, row: int) -> None:
        """Take in that an id asked for could not be claimed: no room for it now, or it is gone."""
        lane = self._lanes[name]
        lane.claiming -= 1
        lane.more = True
        lane.gap = lane.claiming > 0
        self._loaded.discard(row)
        self._settle_in(lane)

    def hungry(self, most: int) -> list[Lane]:
        """Return lanes to fetch by their key, because what was loaded of them is used up."""
        taken: list[Lane] = []
        while self._hungry and len(taken) < most:
            lane = self._hungry.popleft()
            lane.hungry = False
            if self._lanes.get(lane.name) is lane:
                lane.fetching = True
                lane.more = lane.stale = False
                taken.append(lane)
        return taken

    # -- the way of an event ------------------------------------------------------------------

    def start(self) -> Lane | None:
        """Return the lane whose head goes next, now in flight; None when none can start."""
        while self._ready:
            lane = self._ready.popleft()
            lane.queued = False
            if lane.stale or lane.name in self.held:
                self._settle_in(lane)
            elif lane.queue and not lane.in_flight:
                lane.in_flight = True
                return lane
        return None

    def finish(self, lane: Lane) -> None:
        """Take in that the head's end is recorded: the next of the lane may go."""
        lane.in_flight = False
        event = lane.queue.popleft()
        self._loaded.discard(event.id)
        self.bytes -= len(event.payload)
        lane.streak = None
        self._settle_in(lane)

    def retry(self, lane: Lane, head: Event, *, first: bool) -> None:
        """Put the head back in line at once, before all other lanes or behind them."""
        lane.in_flight = False
        lane.queue[0] = head
        self._settle_in(lane)
        if first and lane.queued:
            self._ready.remove(lane)
            self._ready.appendleft(lane)

    def postpone(self, lane: Lane, due: float, *, charged: bool) -> None:
        """Let the lane wait until `due`; nothing of it stays loaded."""
        lane.in_flight = False
        lane.gap = lane.claiming > 0
        head = lane.head.id
        self._unload(lane)
        self._sleep(lane, head, due, charged=charged)

    def wake_due(self, now: float) -> None:
        """Let the lanes go on whose time has come."""
        while (due := self.next_due()) is not None and due <= now:
            self._wake(heappop(self._due)[2])

    def wake_uncharged(self) -> None:
        """Let the lanes go on that wait for a failure which their event wasn't charged with."""
        for due, _, lane in list(self._due):
            if lane.due == due and not lane.charged:
                lane.hurried = True
                self._wake(lane)

    def hold(self, keys: frozenset[str]) -> None:
        """Replace the set of held keys. What is in flight ends first."""
        self.held = keys
        for lane in [self._lanes[key] for key in keys if key in self._lanes]:
            self._settle_in(lane)

    def unload_all(self) -> None:
        """Forget everything that isn't in flight."""
        for lane in list(self._lanes.values()):
            lane.stale = True
            if not lane.in_flight:
                self._unload(lane)
            self._settle_in(lane)

    # -- inside -------------------------------------------------------------------------------

    def _must_skip(self, lane: Lane) -> bool:
        full = len(lane.queue) + lane.claiming >= self.depth
        return full or lane.more or lane.stale or lane.fetching or lane.due is not None

    def _expect(self, lane: Lane, row: int) -> None:
        lane.claiming += 1
        lane.last_id = max(lane.last_id, row)
        self._loaded.add(row)

    def _settle_in(self, lane: Lane) -> None:
        """Put a lane that nothing holds up where it belongs: ready, hungry, or forgotten."""
        if lane.in_flight or lane.claiming or lane.fetching or lane.due is not None:
            return
        if lane.stale or lane.name in self.held:
            self._unload(lane)
        if lane.queue:
            if not lane.queued:
                lane.queued = True
                self._ready.append(lane)
        elif (lane.more or lane.stale) and lane.name not in self.held:
            if not lane.hungry:
                lane.hungry = True
                self._hungry.append(lane)
        elif self._lanes.get(lane.name) is lane:
            del self._lanes[lane.name]

    def _unload(self, lane: Lane) -> None:
        while lane.queue:
            self._drop(lane.queue.popleft())
        lane.last_id = 0

    def _drop(self, event: Event) -> None:
        self.bytes -= len(event.payload)
        self._loaded.discard(event.id)
        self._released.append(event.id)

    def _sleep(self, lane: Lane, head: int, due: float, *, charged: bool) -> None:
        lane.due = due
        lane.charged = charged
        lane.last_id = head
        lane.more = True
        self._waiting += 1
        self._order += 1
        heappush(self._due, (due, self._order, lane))

    def _wake(self, lane: Lane) -> None:
        lane.due = None
        self._waiting -= 1
        self._settle_in(lane)

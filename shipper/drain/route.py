"""One destination at work: its link, its lanes, its look-ahead and its flights.

It decides how large the window is, which part of the destination's limits is this daemon's, and
what a lane does when an outcome is recorded. It must never let a lane go on before that.
"""

from collections.abc import Callable
from typing import NamedTuple

from shipper.clock import Clock
from shipper.drain import link_row as stored
from shipper.drain.courier import Courier
from shipper.drain.flights import Flights
from shipper.drain.lookahead import Lookahead
from shipper.drain.terms import Ended, Question, Terms
from shipper.policy.delivery import Status, Verdict
from shipper.policy.event import Event
from shipper.policy.failing import Failing
from shipper.policy.lanes import Candidate, Lanes
from shipper.policy.link import Link
from shipper.policy.pace import Pace
from shipper.policy.shares import SHARDS, Shares, part_of
from shipper.store.drain.messages import LinkRow, Page

WINDOW = 4096
SCAN_ROWS = 512
WINDOW_PER_PLACE = 8
LANE_DEPTH = 64
LEAST_DEPTH = 4
STAYS_LOADED = 5.0
"""Events that wait no longer than so many seconds stay loaded: to claim them again costs more than
the request."""


class Legacy(NamedTuple):
    """What a route leaves to the next one of its name: where it led, its link and its pace."""

    where: str
    link: Link
    pace: Pace


class Route:
    """Everything that the dispatcher knows about one destination."""

    def __init__(
        self, name: str, terms: Terms, courier: Courier, *, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self.name = name
        self.courier = courier
        self.timeout = terms.timeout
        self.place = terms.place
        fresh = Failing(terms.place.where)
        self.link = Link(
            terms.max_in_flight, terms.policy.probe_backoff, since=clock.monotonic(), failing=fresh
        )
        self._terms = terms
        self._policy = terms.policy
        self._clock = clock
        window = max(WINDOW, WINDOW_PER_PLACE * terms.max_in_flight)
        # Twice as many lanes fit into the window as can be in flight, however deep each lane is.
        depth = max(LEAST_DEPTH, min(LANE_DEPTH, window // (2 * terms.max_in_flight)))
        self.lanes = Lanes(window, depth, places=terms.max_in_flight)
        self.ahead = Lookahead(name, self.lanes, SCAN_ROWS)
        self.flights = Flights(terms, courier, self.link, self.lanes, clock=clock, wake=wake)
        self.open = True  # whether a delivery window allows it to send
        self.recalled_until = 0.0  # until then it claims nothing

    @property
    def in_flight(self) -> int:
        """Return how many tries are under way or not recorded yet."""
        return self.flights.in_flight

    @property
    def max_in_flight(self) -> int:
        """Return the limit of the destination, whose part this daemon has."""
        return self._terms.max_in_flight

    # -- looking ahead ------------------------------------------------------------------------

    def take_page(self, question: Question, page: Page, now: float) -> None:
        """Take in the rows that answer a question."""
        wall, due_in = self._clock.wall(), self._policy.due_in
        found = [
            Candidate(
                row.id,
                row.lane,
                due_in(row.next_attempt_at, row.attempts, wall),
                row.next_attempt_at is not None,
                row.held,
                row.shard,
            )
            for row in page.rows
        ]
        self.ahead.take_rows(question, found, now, page.seen, is_last=page.is_last)

    def share(self, shares: Shares, now: float) -> None:
        """Send only events of the shards that the daemon keeps, within their part of the limits."""
        kept = shares.kept
        places = part_of(self._terms.max_in_flight, len(kept))
        self.link.max_in_flight, self.link.daemons = places, shares.daemons
        self.lanes.set_places(places)
        # A rate of 0 would mean no limit; without any shard there is nothing to send.
        self.flights.pace.change(self._terms.max_rate * max(1, len(kept)) / SHARDS, now)
        self.ahead.keep_only(kept)

    # -- sending ------------------------------------------------------------------------------

    def start(self, until: float) -> None:
        """Begin as many tries as the window, the link, the pace and the lanes allow.

        All of them are over by `until`, in monotonic seconds: the end of the lease.
        """
        now = self._clock.monotonic()
        self.lanes.wake_due(now)
        if self.open:
            self.flights.start(until)
        if self.ahead.at_end and not self.lanes.startable():
            self.link.relax(self.in_flight, now)

    def recorded(self, ended: Ended) -> None:
        """Free the place of a try whose outcome is recorded, and let its lane go on."""
        self.flights.unrecorded -= 1
        lane, record = ended.lane, ended.record
        if record.verdict.status is not Status.PENDING:
            self.link.contrast.crowd.ended(lane.name)
            self.lanes.finish(lane)
            if record.holds_key and record.event.ordering_key is not None:
                self.lanes.hold_one(record.event.ordering_key)
        elif ended.due is None:
            head = _after(record.event, record.verdict)
            self.lanes.retry(lane, head, first=ended.newly_received)
        else:
            verdict = record.verdict
            stays = _after(record.event, verdict) if verdict.wait <= STAYS_LOADED else None
            if not self.lanes.postpone(lane, ended.due, charged=verdict.charged, stays=stays):
                # The turn that releases the head would claim the lane's other rows. If the daemon
                # died then, they would be sent before the head.
                self.ahead.ask_no_longer({lane.name})

    # -- what others see ----------------------------------------------------------------------

    def resume(self, row: LinkRow) -> None:
        """Resume the link from its row."""
        stored.resume(self.link, row, self._clock)

    def legacy(self) -> Legacy:
        """Return what this route leaves to the next one of its name."""
        return Legacy(self.place.where, self.link, self.flights.pace)

    def follow(self, before: Legacy, now: float) -> None:
        """Take over the state of the route that had this name before.

        If the new route leads to another host, the failures of the old host mean nothing for it.
        """
        if before.where == self.place.where:
            self.resume(stored.link_row(self.name, before.link, self._clock.wall() - now))
            self.link.contrast.follow(before.link.contrast)
        self.flights.pace.wait_until(now + before.pace.wait(now))

    def has_left(self) -> bool:
        """Return whether a recalled route has nothing more to record."""
        return not self.in_flight and not self.lanes.loaded.released

    def recall(self, until: float) -> None:
        """Unload everything that isn't in flight, and claim nothing until `until`."""
        self.recalled_until = until
        self.ahead.let_go()

    def link_row(self, now: float) -> LinkRow:
        """Return the row of the link for `status`; its times are in seconds since 1970."""
        return stored.link_row(self.name, self.link, self._clock.wall() - now)

    def is_idle(self) -> bool:
        """Return whether no event is left to send."""
        return not self.in_flight and self.ahead.is_idle()

    def next_event(self, now: float) -> float | None:
        """Return when time alone makes something due, in monotonic seconds; None if nothing."""
        times = [self.lanes.next_due()]
        if now >= self.recalled_until:
            times.append(self.ahead.next_sweep())
        if self.lanes.startable() and self.open and not self.link.held:
            paced = now + self.flights.pace.wait(now)
            if self.link.is_down:
                probe = self.link.next_probe()
                times.append(None if probe is None else max(probe, paced))
            elif self.link.allowance(now, self.in_flight) > 0:
                times.append(paced)
        return min((moment for moment in times if moment is not None), default=None)


def _after(event: Event, verdict: Verdict) -> Event:
    return event._replace(
        attempts=verdict.attempts,
        maybe_received=verdict.maybe_received,
        failed=True,
        manual=False,
    )

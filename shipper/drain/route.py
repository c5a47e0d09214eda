"""One destination under way: its link, its lanes, its courier, and what is in flight.

It puts the pure decisions together: who goes next (`lane`), whether any may (`link`), what came
of it (`outcome`), what becomes of the event (`delivery`). It does no I/O but to start couriers,
and never lets a place in flight go before its outcome is recorded.
"""

import asyncio
from collections.abc import Callable, Sequence

from shipper.clock import Clock
from shipper.drain import link_row as stored
from shipper.drain.courier import Carried, Courier
from shipper.drain.lookahead import Lookahead
from shipper.drain.terms import Question, Settled, Terms
from shipper.policy import delivery
from shipper.policy.blame import Try
from shipper.policy.delivery import Blame, Status, Verdict
from shipper.policy.event import Event
from shipper.policy.failing import Failing, describe
from shipper.policy.lanes import Candidate, Lane, Lanes
from shipper.policy.link import Link
from shipper.policy.outcome import Kind
from shipper.policy.pace import Pace
from shipper.policy.state import State
from shipper.store.drain.messages import HistoryRow, LinkRow, PendingRow, Record

WINDOW = 4096
SCAN_ROWS = 512
WINDOW_PER_PLACE = 8
LANE_DEPTH = 64
LEAST_DEPTH = 4
# A machine may sleep in the middle of a try; the history has room for 24 days.
MS_MAX = 2**31 - 1


class Route:
    """Everything that the dispatcher keeps about one destination."""

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
        self._policy = terms.policy
        self._pace = Pace(terms.max_rate)
        self._holds_dead = terms.holds_dead
        self._clock = clock
        self._wake = wake
        window = max(WINDOW, WINDOW_PER_PLACE * terms.max_in_flight)
        # However the outbox was filled: twice as many lanes are loaded as may be in flight.
        depth = max(LEAST_DEPTH, min(LANE_DEPTH, window // (2 * terms.max_in_flight)))
        self.lanes = Lanes(window, depth, places=terms.max_in_flight)
        self.ahead = Lookahead(name, self.lanes, SCAN_ROWS)
        self.settled: list[Settled] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.unrecorded = 0
        self.open = True  # whether a delivery window lets it send
        self.recalled_until = 0.0  # until then it claims nothing
        self.bug: BaseException | None = None  # what no try may raise; it ends the process

    @property
    def in_flight(self) -> int:
        """Return how many places are taken: under way, or not recorded yet."""
        return len(self.tasks) + self.unrecorded

    # -- looking ahead ------------------------------------------------------------------------

    def answer(self, question: Question, rows: Sequence[PendingRow], now: float) -> None:
        """Take in what the outbox showed."""
        wall, due_in = self._clock.wall(), self._policy.due_in
        found = [
            Candidate(
                row.id,
                row.lane,
                due_in(row.next_attempt_at, wall),
                row.next_attempt_at is not None,
                row.held,
            )
            for row in rows
        ]
        self.ahead.answer(question, found, now)

    # -- sending ------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin as many tries as the link, the pace and the lanes allow."""
        self.lanes.wake_due(now)
        while (
            self.open
            and self.link.allowance(now, self.in_flight) > 0
            and self._pace.wait(now) <= 0
            and (lane := self.lanes.start(probing=self.link.is_down)) is not None
        ):
            invalid = self.courier.check(lane.head)
            if invalid is not None:
                carried = Carried(invalid, self._clock.wall(), 0.0)
                self._settle(lane, carried, Blame.EVENT)
                continue
            number = self.link.begin()
            self._pace.take(now)
            task = asyncio.create_task(self._carry(lane, number))
            self.tasks.add(task)
            task.add_done_callback(self._ended)
        if self.ahead.at_end and not self.lanes.startable():
            self.link.relax(self.in_flight, now)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.bug = error
            self._wake()

    async def _carry(self, lane: Lane, number: int) -> None:
        try:
            carried = await self.courier.carry(lane.head)
        except asyncio.CancelledError:
            self.link.abandon(number)
            raise
        now = self._clock.monotonic()
        streak = lane.streak_of_head()
        attempt = Try(number, lane.name, streak.began)
        outage = self.link.outage
        blame = self.link.settle(attempt, carried.outcome, now, self._clock.random())
        self._settle(lane, carried, blame)
        if self.link.outage != outage:
            self.lanes.wake_uncharged()
            if self.link.state is State.PAUSED and blame is Blame.LINK and self.lanes.startable():
                # Another event tells at once whether it is the link or only this one.
                self.link.probe_at_once(now)
        self._wake()

    def _settle(self, lane: Lane, carried: Carried, blame: Blame) -> None:
        outcome, event, streak = carried.outcome, lane.head, lane.streak_of_head()
        failed = outcome.kind is not Kind.ACCEPTED
        if failed:
            streak.fail(self.link.begun)
        verdict = delivery.settle(
            outcome,
            blame,
            attempts=event.attempts,
            maybe_received=event.maybe_received,
            streak=streak.failures,
            policy=self._policy,
            chance=self._clock.random(),
        )
        at, now = self._clock.wall(), self._clock.monotonic()
        waits = verdict.status is Status.PENDING and (verdict.charged or not self.link.is_down)
        record = Record(
            event,
            verdict,
            at,
            next_attempt_at=at + verdict.wait if waits else None,
            status_code=outcome.status_code,
            error=describe(outcome) if failed else None,
            history=self._attempt(lane, carried, verdict),
            holds_key=verdict.status is Status.DEAD and self._holds_dead,
        )
        newly_received = verdict.maybe_received and not event.maybe_received
        due = now + verdict.wait if waits else None
        if due is not None:
            self.link.failing.retried_at(due, now)
        self.settled.append(Settled(lane, record, outcome, due, newly_received, carried.seconds))
        self.unrecorded += 1

    def _attempt(self, lane: Lane, carried: Carried, verdict: Verdict) -> HistoryRow | None:
        """Return the row of the history that this try deserves; what an event died of, always."""
        event, streak, outcome = lane.head, lane.streak_of_head(), carried.outcome
        failed = outcome.kind is not Kind.ACCEPTED
        if failed and verdict.status is Status.PENDING and self.link.is_down and not event.manual:
            if streak.noted_outage == self.link.outage:
                return None  # one row for the whole run of probes
            streak.noted_outage = self.link.outage
        elif not failed and not (event.failed or event.manual or streak.failures):
            return None
        return HistoryRow(
            started_at=carried.started_at,
            duration_ms=min(round(carried.seconds * 1000), MS_MAX),
            outcome=outcome.cause,
            status_code=outcome.status_code,
            error=outcome.detail or None,
            response_excerpt=outcome.excerpt,
            manual=event.manual,
        )

    def recorded(self, settled: Settled) -> None:
        """Take in that an outcome is on disk: its place is free, its lane may go on."""
        self.unrecorded -= 1
        lane, record = settled.lane, settled.record
        if record.verdict.status is not Status.PENDING:
            self.link.contrast.crowd.ended(lane.name)
            self.lanes.finish(lane)
            if record.holds_key and record.event.ordering_key is not None:
                self.lanes.hold_one(record.event.ordering_key)
        elif settled.due is None:
            head = _after(record.event, record.verdict)
            self.lanes.retry(lane, head, first=settled.newly_received)
        else:
            self.lanes.postpone(lane, settled.due, charged=record.verdict.charged)
            # Claimed by the turn that lets go of the head, it would go first if we died then.
            self.ahead.ask_no_longer({lane.name})

    # -- what others see ----------------------------------------------------------------------

    def resume(self, row: LinkRow) -> None:
        """Take the link up as it was stored."""
        stored.resume(self.link, row, self._clock)

    def follow(self, before: "Route", now: float) -> None:
        """Go on as the route did whose place it takes; elsewhere its failures mean nothing."""
        if before.place.where == self.place.where:
            self.resume(before.link_row(now))
            self.link.contrast.follow(before.link.contrast)
        self._pace.rest(now + before.paced(now))

    def paced(self, now: float) -> float:
        """Return the seconds until the pace lets the next request begin."""
        return self._pace.wait(now)

    def has_left(self) -> bool:
        """Return whether a recalled route has nothing more to write down."""
        return not self.in_flight and not self.settled and not self.lanes.loaded.released

    def recall(self, until: float) -> None:
        """Let go of everything that isn't in flight, and claim nothing until then."""
        self.recalled_until = until
        self.ahead.let_go()

    def link_row(self, now: float) -> LinkRow:
        """Return the link as it is stored for `status`, its times on the wall clock."""
        return stored.link_row(self.name, self.link, self._clock.wall() - now)

    def is_idle(self) -> bool:
        """Return whether nothing is known that could be shipped now or later."""
        return not self.in_flight and self.ahead.is_idle()

    def next_event(self, now: float) -> float | None:
        """Return when time alone will bring something to do, in monotonic seconds."""
        times = [self.lanes.next_due()]
        if now >= self.recalled_until:
            times.append(self.ahead.next_sweep())
        if self.lanes.startable() and self.open and not self.link.held:
            paced = now + self._pace.wait(now)
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

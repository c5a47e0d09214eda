"""One destination under way: its link, its lanes, its courier, and what is in flight.

It puts the pure decisions together: who goes next (`lane`), whether any may (`link`), what came
of it (`outcome`), what becomes of the event (`delivery`). It does no I/O but to start couriers,
and never lets a place in flight go before its outcome is recorded.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from shipper import delivery
from shipper.clock import Clock
from shipper.courier import Carried, Courier
from shipper.delivery import Blame, Status, Verdict
from shipper.dispatcher import stored
from shipper.dispatcher.values import Question, Scan, Settled, Terms
from shipper.event import Event
from shipper.failing import Failing, describe
from shipper.lane import Candidate, Lane, Lanes
from shipper.link import Link, Pace, Try
from shipper.outcome import Kind
from shipper.state import State
from shipper.store.work import Attempt, LinkRow, Look, Record, Row

WINDOW = 4096
SCAN_ROWS = 512
LANE_DEPTH = 64
LANES_PER_LOOK = 32
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
        self.lanes = Lanes(WINDOW, LANE_DEPTH)
        self.scan = Scan()
        self.settled: list[Settled] = []
        self.wanted: list[tuple[int, str | int]] = []
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

    def questions(self) -> list[Question]:
        """Return what this route has to know next."""
        room = self.lanes.room()
        asked: list[Question] = []
        if room <= 0:
            return asked
        # A lane that is to go on comes before what lies further ahead.
        for lane in self.lanes.hungry(min(LANES_PER_LOOK, 1 + room // LANE_DEPTH)):
            look = Look("lane", self.name, LANE_DEPTH, lane=lane.name)
            asked.append(Question(look, self.scan.epoch, lane))
        if self.may_scan():
            look = Look(self.scan.kind, self.name, SCAN_ROWS, after=self.scan.after)
            asked.append(Question(look, self.scan.epoch, only_if_fresh=self.scan.at_end))
        return asked

    def may_scan(self) -> bool:
        """Return whether to look further ahead: not while what was seen is still to be claimed."""
        return len(self.wanted) < SCAN_ROWS and self.lanes.may_scan(SCAN_ROWS)

    def answer(self, question: Question, rows: Sequence[Row], now: float) -> None:
        """Take in what the outbox showed."""
        wall = self._clock.wall()
        due_in = self._policy.due_in
        found = [Candidate(r.id, r.lane, due_in(r.next_attempt_at, wall)) for r in rows]
        if question.lane is not None:
            wanted = self.lanes.take_page(question.lane, found, question.look.limit, now)
        elif question.epoch == self.scan.epoch:
            wanted = self._take_scan(found, question.look.limit, now)
        else:
            return
        lanes = {candidate.id: candidate.lane for candidate in found}
        self.wanted += [(row, lanes[row]) for row in wanted]

    def _take_scan(self, found: list[Candidate], limit: int, now: float) -> list[int]:
        room = self.lanes.room()
        wanted: list[int] = []
        self.scan.at_end = False
        for candidate in found:
            if len(wanted) >= room:
                return wanted
            wanted += self.lanes.offer([candidate], now)
            self.scan.after = candidate.id
        if len(found) < limit:
            if self.scan.kind == "maybe_received":
                self.scan.kind, self.scan.after = "pending", 0
            else:
                self.scan.at_end = True
        return wanted

    def take_claims(
        self, asked: Iterable[tuple[int, str | int]], claimed: Mapping[int, Event]
    ) -> None:
        """Take in which of the events asked for are claimed.

        What follows one that isn't is no longer asked for: it can't go before that one, but if it
        were claimed, and we died, it would.
        """
        short: set[str | int] = set()
        for row, lane in asked:
            if row in claimed:
                self.lanes.load(claimed[row])
            else:
                self.lanes.missed(lane, row)
                short.add(lane)
        self._ask_no_longer(short)

    def _ask_no_longer(self, lanes: Collection[str | int]) -> None:
        for row, lane in self.wanted:
            if lane in lanes:
                self.lanes.missed(lane, row)
        self.wanted = [(row, lane) for row, lane in self.wanted if lane not in lanes]

    # -- sending ------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin as many tries as the link, the pace and the lanes allow."""
        self.lanes.wake_due(now)
        while (
            self.open
            and self.link.allowance(now, self.in_flight) > 0
            and self._pace.wait(now) <= 0
            and (lane := self.lanes.start()) is not None
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
        if self.scan.at_end and not self.lanes.startable():
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
        streak.failures += failed
        if failed and streak.began is None:
            streak.began = self.link.begun
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
            attempt=self._attempt(lane, carried, failed=failed),
            holds_key=verdict.status is Status.DEAD and self._holds_dead,
        )
        newly_received = verdict.maybe_received and not event.maybe_received
        due = now + verdict.wait if waits else None
        if due is not None:
            self.link.failing.retried_at(due, now)
        self.settled.append(Settled(lane, record, outcome, due, newly_received, carried.seconds))
        self.unrecorded += 1

    def _attempt(self, lane: Lane, carried: Carried, *, failed: bool) -> Attempt | None:
        """Return the row of the history that this try deserves."""
        event, streak, outcome = lane.head, lane.streak_of_head(), carried.outcome
        if failed and not event.manual and self.link.is_down:
            if streak.noted_outage == self.link.outage:
                return None  # one row for the whole run of probes
            streak.noted_outage = self.link.outage
        elif not failed and not (event.failed or event.manual or streak.failures):
            return None
        return Attempt(
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
            self.lanes.finish(lane)
            if record.holds_key and record.event.ordering_key is not None:
                self.lanes.hold(self.lanes.held | {record.event.ordering_key})
        elif settled.due is None:
            head = _after(record.event, record.verdict)
            self.lanes.retry(lane, head, first=settled.newly_received)
        else:
            self.lanes.postpone(lane, settled.due, charged=record.verdict.charged)
            # Claimed by the turn that lets go of the head, it would go first if we died then.
            self._ask_no_longer({lane.name})

    # -- what others see ----------------------------------------------------------------------

    def resume(self, row: LinkRow) -> None:
        """Take the link up as it was stored."""
        stored.resume(self.link, row, self._clock)

    def follow(self, before: "Route", now: float) -> None:
        """Go on as the route did whose place it takes; elsewhere its failures mean nothing."""
        if before.place.where == self.place.where:
            self.resume(before.link_row(now))
        self._pace.rest(now + before.paced(now))
        self.link.held, self.open = before.link.held, before.open

    def paced(self, now: float) -> float:
        """Return the seconds until the pace lets the next request begin."""
        return self._pace.wait(now)

    def has_left(self) -> bool:
        """Return whether a recalled route has nothing more to write down."""
        return not self.in_flight and not self.settled and not self.lanes.has_released()

    def rescan(self) -> None:
        """Scan from the beginning: an operator, or time, may have put something back."""
        self.scan.restart()

    def recall(self, until: float) -> None:
        """Let go of everything that isn't in flight, and claim nothing until then."""
        self.recalled_until = until
        self._ask_no_longer({lane for _, lane in self.wanted})
        self.lanes.unload_all()

    def link_row(self, now: float) -> LinkRow:
        """Return the link as it is stored for `status`, its times on the wall clock."""
        return stored.link_row(self.name, self.link, self._clock.wall() - now)

    def is_idle(self) -> bool:
        """Return whether nothing is known that could be shipped now or later."""
        return self.scan.at_end and not self.in_flight and self.lanes.is_empty()

    def next_event(self, now: float) -> float | None:
        """Return when time alone will bring something to do, in monotonic seconds."""
        times = [self.lanes.next_due()]
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

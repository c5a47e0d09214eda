"""The tries of one destination, from their start until the database gets their outcome.

It makes no decision of its own. It combines the pure ones: which lane goes next (`lanes`), whether
a try can begin (`link`, `pace`), whom a failure is charged to (`link`), and what becomes of the
event (`delivery`). It must never free a place before the outcome is recorded, nor begin a try that
may last longer than the lease: the process may have been stopped since the try before.
"""

from collections.abc import Callable
from functools import partial

from shipper.clock import Clock
from shipper.drain.courier import Courier, TryResult
from shipper.drain.terms import Ended, Terms
from shipper.policy import delivery
from shipper.policy.blame import Try
from shipper.policy.delivery import Blame, Status, Verdict, delivered
from shipper.policy.failing import describe
from shipper.policy.lanes import Lane, Lanes
from shipper.policy.link import Link
from shipper.policy.outcome import Kind, UnderWay
from shipper.policy.pace import Pace
from shipper.policy.state import State
from shipper.policy.streak import Streak
from shipper.store.drain.messages import HistoryRow, Record

# A machine may sleep in the middle of a try; the history has room for 24 days.
MS_MAX = 2**31 - 1


class Flights:
    """Begins tries and collects their outcomes. Belongs to the event loop."""

    def __init__(
        self,
        terms: Terms,
        courier: Courier,
        link: Link,
        lanes: Lanes,
        *,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self.pace = Pace(terms.max_rate)
        self.under_way: dict[int, UnderWay] = {}
        """The tries that have no outcome yet, by number."""
        self.unrecorded = 0
        self.bug: BaseException | None = None
        """The exception of a try; it ends the process, because no try is allowed to raise."""
        self._ended: list[Ended] = []
        self._courier = courier
        self._link = link
        self._lanes = lanes
        self._policy = terms.policy
        self._timeout = terms.timeout
        self._holds_dead = terms.holds_dead
        self._clock = clock
        self._wake = wake

    @property
    def in_flight(self) -> int:
        """Return how many tries are under way or not recorded yet."""
        return len(self.under_way) + self.unrecorded

    def has_ended(self) -> bool:
        """Return whether there are outcomes to record."""
        return bool(self._ended)

    def take_ended(self) -> list[Ended]:
        """Return the tries whose outcomes are to be recorded, and forget them."""
        ended, self._ended = self._ended, []
        return ended

    def start(self, until: float) -> None:
        """Begin as many tries as the link, the pace and the lanes allow, all over by `until`."""
        link, pace, lanes, time = self._link, self.pace, self._lanes, self._clock.monotonic
        now = time()
        room = link.allowance(now, self.in_flight)
        while (
            room > 0
            and pace.wait(now) <= 0
            and (now := time()) + self._timeout < until
            and (lane := lanes.start(probing=link.is_down)) is not None
        ):
            invalid = self._courier.check(lane.head)
            if invalid is not None:
                self._end(lane, TryResult(invalid, self._clock.wall(), 0.0), Blame.EVENT)
                room = link.allowance(now, self.in_flight)
                continue
            room -= 1
            number = link.begin()
            pace.take(now)
            answered = partial(self._answered, lane, number)
            self.under_way[number] = self._courier.begin(lane.head, answered, now=now, until=until)

    def cut_off(self) -> None:
        """Give up all tries that are under way: a stop of the daemon waits no longer."""
        for number, one in self.under_way.items():
            one.cancel()
            self._link.abandon(number)
        self.under_way.clear()

    def _answered(self, lane: Lane, number: int, result: TryResult | Exception) -> None:
        """Take the result of a try; the carrier calls this once for each."""
        try:
            del self.under_way[number]
            self._judge(lane, number, result)
        except Exception as bug:  # noqa: BLE001 - the dispatcher raises it
            self.bug = bug
        self._wake()

    def _judge(self, lane: Lane, number: int, result: TryResult | Exception) -> None:
        if isinstance(result, Exception):
            raise result
        link, outcome = self._link, result.outcome
        now, outage = self._clock.monotonic(), link.outage
        if outcome.kind is Kind.ACCEPTED:
            link.accepted(number, lane.name, now)
            blame = Blame.NEITHER
        elif outcome.is_unsent_refusal:
            link.abandon(number)
            blame = Blame.EVENT
        else:
            attempt = Try(number, lane.name, lane.first_failure())
            blame = link.blame(attempt, outcome, now, self._clock.random())
        self._end(lane, result, blame)
        if link.outage != outage:
            self._lanes.wake_uncharged()
            if link.state is State.PAUSED and blame is Blame.LINK and self._lanes.startable():
                # Another event shows at once whether it is the link or only this event.
                link.probe_at_once(now)

    def _end(self, lane: Lane, result: TryResult, blame: Blame) -> None:
        """Decide what becomes of the head of a lane, and queue the decision to be recorded."""
        outcome, event = result.outcome, lane.head
        failed = outcome.kind is not Kind.ACCEPTED
        if not (failed or lane.streak or event.failed or event.manual):
            self._end_ordinary(lane, result)
            return
        streak = lane.streak_of_head()
        if failed:
            streak.fail(self._link.begun)
        verdict = delivery.verdict_of(
            outcome,
            blame,
            attempts=event.attempts,
            maybe_received=event.maybe_received,
            streak=streak.failures,
            policy=self._policy,
            chance=self._clock.random(),
        )
        at, now = self._clock.wall(), self._clock.monotonic()
        waits = verdict.status is Status.PENDING and (verdict.charged or not self._link.is_down)
        record = Record(
            event,
            verdict,
            at,
            next_attempt_at=at + verdict.wait if waits else None,
            status_code=outcome.status_code,
            error=describe(outcome) if failed else None,
            history=self._history(lane, streak, result, verdict),
            holds_key=verdict.status is Status.DEAD and self._holds_dead,
        )
        newly_received = verdict.maybe_received and not event.maybe_received
        due = now + verdict.wait if waits else None
        if due is not None:
            self._link.failing.retried_at(due, now)
        self._ended.append(Ended(lane, record, outcome, due, newly_received, result.seconds))
        self.unrecorded += 1

    def _end_ordinary(self, lane: Lane, result: TryResult) -> None:
        """Do the same for an accepted event that has never failed: nearly all are like that.

        It gets what `verdict_of` and `_history` would return, without asking them.
        """
        event, outcome = lane.head, result.outcome
        record = Record(
            event, delivered(event.attempts), self._clock.wall(), status_code=outcome.status_code
        )
        self._ended.append(
            Ended(lane, record, outcome, due=None, newly_received=False, seconds=result.seconds)
        )
        self.unrecorded += 1

    def _history(
        self, lane: Lane, streak: Streak, result: TryResult, verdict: Verdict
    ) -> HistoryRow | None:
        """Return the row of the history for this try; None if it gets none.

        An accepted try gets one only after a failure, or if an operator asked for it. While the
        link is down, an event gets one row for all its tries together.
        """
        event, outcome, link = lane.head, result.outcome, self._link
        failed = outcome.kind is not Kind.ACCEPTED
        if failed and verdict.status is Status.PENDING and link.is_down and not event.manual:
            if streak.noted_outage == link.outage:
                return None
            streak.noted_outage = link.outage
        elif not failed and not (event.failed or event.manual or streak.failures):
            return None
        return HistoryRow(
            started_at=result.started_at,
            duration_ms=min(round(result.seconds * 1000), MS_MAX),
            outcome=outcome.cause,
            status_code=outcome.status_code,
            error=outcome.detail or None,
            response_excerpt=outcome.excerpt,
            manual=event.manual,
        )

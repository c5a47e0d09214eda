"""What a route does with what the outbox and the clocks tell it, without any of them."""

import asyncio
from math import inf

import pytest

from shipper.config.secrets import Secrets
from shipper.drain.courier import Courier, TryResult
from shipper.drain.route import Route
from shipper.drain.routes import LEGACIES, Routes
from shipper.drain.terms import Question, Terms
from shipper.policy.backoff import Backoff
from shipper.policy.delivery import Blame, RetryPolicy
from shipper.policy.event import Event
from shipper.policy.link import EVERYTHING_REFUSED
from shipper.policy.outcome import Fault, Invalid, Kind, Outcome, Reply
from shipper.policy.state import State
from shipper.policy.streak import Streak
from shipper.store.drain.messages import LinkRow, Look, Page, PendingRow
from tests.carriers import Carrying, landed

WALL = 1_800_000_000.0
BACKOFF = Backoff(1.0, 60.0)


class Clock:
    """Stands still, so that every wait is a round number."""

    def monotonic(self) -> float:
        """Return the moment of the test."""
        return 100.0

    def wall(self) -> float:
        """Return the wall time of the test."""
        return WALL

    def random(self) -> float:
        """Return no chance at all."""
        return 0.0


class Refuser(Carrying):
    """A receiver that accepts nothing."""

    async def send(self, *_: object) -> Reply | Fault | Invalid:
        """Refuse an event."""
        return Reply(401)


def route(
    max_rate: float = 0.0, most: int = 4, backoff: Backoff = BACKOFF, clock: Clock | None = None
) -> Route:
    """Return a route whose longest wait is 60 s for an event, and 90 s for a probe."""
    policy = RetryPolicy(backoff, Backoff(1.0, 90.0), 3)
    clock = clock or Clock()
    courier = Courier(
        Refuser(), validation="off", secrets=lambda: Secrets(api_id="id"), clock=clock
    )
    terms = Terms(policy, 10.0, most, max_rate, holds_dead=False)
    one = Route("default", terms, courier, clock=clock, wake=lambda: None)
    # Nothing may have been received by an earlier process.
    nothing = Page([], 0, is_last=True)
    one.take_page(Question(Look("maybe_received", "default", 512), is_sweep=True), nothing, 100.0)
    return one


def event(row: int, key: str = "k") -> Event:
    """Return a claimed event."""
    return Event(row, f"e{row}", "default", key, b"{}")


def see(one: Route, *rows: PendingRow) -> None:
    """Show rows, as a scan finds them."""
    page = Page([*rows], rows[-1].id if rows else 0, is_last=True)
    one.take_page(Question(Look("pending", "default", 512)), page, 100.0)


@pytest.mark.parametrize(("ahead", "is_due"), [(89.0, False), (91.0, True), (3e9, True)])
def test_no_event_waits_for_a_clock_that_was_set_back(ahead: float, *, is_due: bool) -> None:
    """Longer than the longest wait can only be the clock's doing; it would never be over."""
    one = route()
    see(one, PendingRow(1, "k", WALL + ahead))
    one.lanes.wake_due(100.0)
    assert one.lanes.has_to_fetch() is is_due


def test_what_follows_an_event_that_could_not_be_claimed_is_not_asked_for() -> None:
    """After a crash its claim would put it before its predecessors."""
    one = route()
    see(
        one,
        PendingRow(1, "k", None),
        PendingRow(2, "m", None),
        PendingRow(3, "k", None),
        PendingRow(4, "m", None),
    )
    asked, one.ahead.wanted = one.ahead.wanted[:2], one.ahead.wanted[2:]
    one.ahead.take_claims(asked, {2: event(2, "m")})
    assert one.ahead.wanted == [(4, "m")]


@pytest.mark.parametrize(("wait", "asked"), [(5.5, [(3, "m")]), (4.5, [(2, "k"), (3, "m")])])
def test_what_follows_an_event_that_is_let_go_is_not_asked_for(
    wait: float, asked: list[tuple[int, str | int]]
) -> None:
    """The turn that lets go of the head would claim it, and after a crash it would go first.

    An event that waits only for a moment keeps its claim, so the order of the claims is right.
    """

    async def fail_once() -> list[tuple[int, str | int]]:
        one = route(backoff=Backoff(wait, wait))
        see(one, PendingRow(1, "k", None))
        one.ahead.take_claims(one.ahead.wanted, {1: event(1)})
        one.ahead.wanted = []
        lane = one.lanes.start()
        assert lane is not None
        see(one, PendingRow(2, "k", None), PendingRow(3, "m", None))
        assert one.ahead.wanted == [(2, "k"), (3, "m")]
        one.flights._end(lane, TryResult(Outcome(Kind.TRANSIENT, "closed"), WALL, 0.1), Blame.EVENT)
        one.recorded(one.flights.take_ended().pop())
        return one.ahead.wanted

    assert asyncio.run(fail_once()) == asked


def test_what_an_event_died_of_is_in_its_history_while_the_link_is_down() -> None:
    """Of a run of probes there is one row; the answer that ended the event is never among them."""
    one = route()
    see(one, PendingRow(1, "k", None))
    one.ahead.take_claims(one.ahead.wanted, {1: event(1)})
    one.resume(LinkRow("default", "offline", "closed", WALL - 60.0, None))
    lane = one.lanes.start()
    assert lane is not None
    kept = []
    for outcome, blame in [
        (Outcome(Kind.TRANSIENT, "closed"), Blame.LINK),
        (Outcome(Kind.TRANSIENT, "timeout"), Blame.LINK),
        (
            Outcome(Kind.REFUSED, "http-422", status_code=422, excerpt="no such product"),
            Blame.EVENT,
        ),
    ]:
        one.flights._end(lane, TryResult(outcome, WALL, 0.1), blame)
        attempt = one.flights.take_ended().pop().record.history
        kept.append(None if attempt is None else (attempt.outcome, attempt.response_excerpt))
    assert kept == [("closed", None), None, ("http-422", "no such product")]


@pytest.mark.parametrize("maybe_received", [False, True])
@pytest.mark.parametrize("attempts", [0, 2])
def test_an_ordinary_event_ends_as_any_accepted_event(
    attempts: int,
    maybe_received: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    """Its way is shorter, its record is the same."""
    ends = []
    for streak in (None, Streak(1)):
        one = route()
        see(one, PendingRow(1, "k", None))
        found = event(1)._replace(attempts=attempts, maybe_received=maybe_received)
        one.ahead.take_claims(one.ahead.wanted, {1: found})
        lane = one.lanes.start()
        assert lane is not None
        lane.streak = streak
        outcome = Outcome(Kind.ACCEPTED, "accepted", status_code=202)
        one.flights._end(lane, TryResult(outcome, WALL, 0.1), Blame.NEITHER)
        [ended] = one.flights.take_ended()
        ends.append(ended[1:])
    assert ends[0] == ends[1]


def test_a_probe_waits_for_the_pace_without_turning_in_circles() -> None:
    """Its time has come, but it may not go: what is next is when it may."""

    async def fail_once() -> float | None:
        one = route(max_rate=0.5)
        see(one, PendingRow(1, "k", None), PendingRow(2, "m", None))
        one.ahead.take_claims(one.ahead.wanted, {1: event(1), 2: event(2, "m")})
        one.ahead.wanted = []
        one.start(inf)
        await landed(one.flights)
        one.recorded(one.flights.take_ended().pop())
        assert one.link.state is State.PAUSED
        assert one.link.next_try_at == 100.0  # another event shows at once what is wrong
        return one.next_event(100.0)

    assert asyncio.run(fail_once()) == 102.0


@pytest.mark.parametrize(
    ("written_ago", "wait"), [(5.0, 15.0), (-3600.0, 20.0), (None, 15.0)], ids=str
)
def test_a_stored_pause_never_grows(written_ago: float | None, wait: float) -> None:
    """Even if the clock was set back since: 20 s were asked for when it was written."""
    one = route()
    written = None if written_ago is None else WALL - written_ago
    until = WALL + 15.0 if written is None else written + 20.0
    one.resume(LinkRow("default", "throttled", "HTTP 429", WALL, until, written))
    assert one.link.next_try_at == 100.0 + wait


def test_a_new_process_remembers_that_everything_is_refused() -> None:
    """Else each would bury the next four events before it found out."""
    one = route()
    one.resume(LinkRow("default", "paused", EVERYTHING_REFUSED, WALL - 60.0, None))
    assert one.link.contrast.refuses_all


async def test_a_destination_that_is_added_again_keeps_its_pause() -> None:
    """The stored end of the pause is a wall time, and the clock was set in the meantime."""
    routes, before = Routes(Clock()), route()
    routes.add(before)
    before.link.resume(State.THROTTLED, "HTTP 429", since=90.0, until=3100.0)
    routes.remove("default")
    assert list(routes.left()) == [before]
    again = route()
    again.link.resume(State.THROTTLED, "HTTP 429", since=90.0, until=100.0)
    routes.add(again)
    assert again.link.next_try_at == 3100.0
    await routes.aclose()


@pytest.mark.parametrize(("later", "kept"), [(LEGACIES - 1, True), (LEGACIES, False)])
async def test_few_removed_destinations_are_remembered(later: int, kept: bool) -> None:  # noqa: FBT001
    """A configuration that changes for ever makes the daemon no larger."""
    routes = Routes(Clock())
    for number in range(1 + later):
        one = route()
        one.name = f"d{number}"
        one.link.resume(State.THROTTLED, "HTTP 429", since=90.0, until=3100.0)
        routes.add(one)
        routes.remove(one.name)
        assert list(routes.left()) == [one]
    again = route()
    again.name = "d0"
    routes.add(again)
    assert again.link.is_down is kept
    await routes.aclose()

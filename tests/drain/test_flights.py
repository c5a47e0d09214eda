"""The tries under way: each ends once, with its outcome or as a bug, or it is given up."""

from collections.abc import Callable
from math import inf
from typing import Any
from unittest.mock import patch

import pytest

from shipper.config.secrets import Secrets
from shipper.drain import courier
from shipper.drain.route import Route
from shipper.policy.delivery import Status
from shipper.policy.event import Event
from shipper.policy.outcome import Fault, Invalid, Reply
from shipper.store.drain.messages import LinkRow, PendingRow
from tests.drain.test_route import WALL, Clock, event, route, see


class Hand:
    """A carrier whose answers are given by hand, in any order."""

    def __init__(self) -> None:
        """Begin with none."""
        self.done: dict[str, Callable[[Any], None]] = {}
        self.cancelled: list[str] = []

    def begin(self, event: Event, _secrets: Secrets, done: Any, _until: float) -> "_Begun":
        """Begin a try."""
        self.done[event.event_id] = done
        return _Begun(self, event.event_id)

    async def aclose(self) -> None:
        """Close nothing."""


class _Begun:
    def __init__(self, hand: Hand, event_id: str) -> None:
        self._hand = hand
        self._event_id = event_id

    def cancel(self) -> None:
        self._hand.cancelled.append(self._event_id)


class Ticking(Clock):
    """A clock that is moved by hand."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic  # type: ignore[method-assign]


def flying(
    hand: Hand,
    rows: int = 3,
    *,
    is_down: bool = False,
    clock: Clock | None = None,
    until: float = inf,
) -> Route:
    """Return a route with a try under way for each row, or a probe if the link is down."""
    one = route(clock=clock)
    one.courier._carrier = hand
    if is_down:
        one.resume(LinkRow("default", "offline", "closed", WALL - 60.0, None))
    see(one, *(PendingRow(row, f"k{row}", None) for row in range(1, rows + 1)))
    one.ahead.take_claims(
        one.ahead.wanted, {row: event(row, f"k{row}") for row in range(1, rows + 1)}
    )
    one.start(until)
    return one


def test_answers_in_any_order_go_to_their_own_events() -> None:
    """Each to the event that it was begun for."""
    hand = Hand()
    one = flying(hand)
    hand.done["e3"](Reply(202))
    hand.done["e1"](Reply(422))
    hand.done["e2"](Fault("closed", "maybe", "gone"))
    ended = {item.record.event.event_id: item.outcome.cause for item in one.flights.take_ended()}
    assert ended == {"e3": "accepted", "e1": "http-422", "e2": "closed"}
    assert (one.in_flight, one.flights.under_way, one.flights.bug) == (3, {}, None)


@pytest.mark.parametrize("is_down", [False, True])
def test_events_that_no_request_can_be_made_from_say_nothing_about_the_link(
    is_down: bool,  # noqa: FBT001
) -> None:
    """However many: each is a dead letter, the link stays as it is, and the next may be tried."""
    hand = Hand()
    one = flying(hand, 8, is_down=is_down)
    before, became = one.link.state, []
    for row in range(1, 9):
        hand.done[f"e{row}"](Invalid("unbuildable", "the event has no ordering_key"))
        for item in one.flights.take_ended():
            became.append(item.record.verdict.status)
            one.recorded(item)
        one.start(inf)
    assert became == [Status.DEAD] * 8
    assert (one.link.state, one.link.contrast.lanes_refused) == (before, set())


@pytest.mark.parametrize("answer", [ZeroDivisionError(), OSError()], ids=repr)
def test_an_exception_of_a_try_ends_the_process(answer: Exception) -> None:
    """It is kept for the dispatcher, and the other tries go on."""
    hand = Hand()
    one = flying(hand)
    hand.done["e1"](answer)
    hand.done["e2"](Reply(202))
    assert one.flights.bug is answer
    assert len(one.flights.take_ended()) == 1


def test_an_exception_while_an_answer_is_judged_ends_the_process() -> None:
    """The connection that calls back isn't the one to hear of it."""
    hand = Hand()
    one = flying(hand)
    with patch.object(courier, "classify", side_effect=ZeroDivisionError):
        hand.done["e1"](Reply(500))
    assert isinstance(one.flights.bug, ZeroDivisionError)


def test_a_second_answer_to_one_try_ends_the_process() -> None:
    """It is no answer to another, and it is recorded nowhere."""
    hand = Hand()
    one = flying(hand)
    hand.done["e1"](Reply(202))
    hand.done["e1"](Reply(500))
    assert isinstance(one.flights.bug, KeyError)
    assert [item.outcome.cause for item in one.flights.take_ended()] == ["accepted"]


def test_what_is_cut_off_is_cancelled_and_leaves_no_probe() -> None:
    """The link doesn't wait for a probe that has no outcome."""
    hand = Hand()
    one = flying(hand, is_down=True)
    assert one.link.next_probe() is None
    before = one.link.allowance(100.0, 0)
    one.flights.cut_off()
    assert (before, one.link.allowance(100.0, 0)) == (0, 1)
    assert (len(hand.cancelled), one.in_flight) == (1, 0)


def test_a_process_that_was_stopped_between_two_tries_begins_no_more() -> None:
    """After its lease, another daemon sends what this one has claimed."""
    moment = 100.0

    class Stopped(Hand):
        """The process stands still for a minute after its second try has begun."""

        def begin(self, *told: Any) -> _Begun:
            """Begin a try."""
            nonlocal moment
            moment += 60.0 * (len(self.done) == 1)
            return super().begin(*told)

    hand = Stopped()
    one = flying(hand, 4, clock=Ticking(lambda: moment), until=120.0)
    assert list(hand.done) == ["e1", "e2"]
    assert one.lanes.startable()
    one.start(moment + 10.0)  # as long as the try: it would be over too late
    assert list(hand.done) == ["e1", "e2"]
    one.start(moment + 10.5)
    assert list(hand.done) == ["e1", "e2", "e3", "e4"]

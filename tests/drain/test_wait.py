"""How long the drain waits, and how often it asks meanwhile."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any
from unittest.mock import Mock

import pytest

from shipper.drain.wait import Rhythm, Wait
from shipper.store.drain.messages import Pulse
from tests.drain.test_route import Clock as Still

QUIET, FRESH = Pulse(fresh=False, generation=-1), Pulse(fresh=True, generation=-1)
HELD_BACK = Pulse(fresh=False, generation=-1, held_back=True)


class Clock(Still):
    """Goes where it is set."""

    now = 100.0

    def monotonic(self) -> float:
        """Return where it stands."""
        return self.now


def wait_of(clock: Clock, changed: Callable[[], bool] | None = None) -> Wait:
    """Return a wait that asks every 0.2 s, and looks every 15 s if there is something to ask."""
    return Wait(Rhythm(0.2, 15.0, inf, 0.0, changed), clock)


def test_where_nothing_tells_it_looks_more_often_after_an_event() -> None:
    """After a quarter of the time since the last one; then as before."""
    rest = wait_of(Clock())
    assert rest.longest(QUIET, 110.0) == 0.2
    assert rest.longest(FRESH, 120.0) == 0.008
    assert rest.longest(QUIET, 120.008) == 0.008
    assert rest.longest(QUIET, 120.1) == pytest.approx(0.025)
    assert rest.longest(QUIET, 120.8) == pytest.approx(0.2)
    assert rest.longest(QUIET, 130.0) == 0.2


def test_a_transaction_that_holds_events_back_is_asked_after_often_at_first() -> None:
    """Most take a moment; one that stays open for long isn't worth it."""
    rest = wait_of(Clock())
    assert rest.longest(HELD_BACK, 110.0) == 0.004
    assert rest.longest(HELD_BACK, 110.1) == pytest.approx(0.025)
    assert rest.longest(HELD_BACK, 111.0) == 0.05
    assert rest.longest(QUIET, 112.0) == 0.2
    assert rest.longest(HELD_BACK, 113.0) == 0.004  # another one


def test_the_polls_after_an_event_are_few() -> None:
    """A fifth of a second apart after less than a second, whatever the event costs."""
    rest, now, polls = wait_of(Clock()), 110.0, 0
    delay = rest.longest(FRESH, now)
    while delay < 0.2:
        now, polls = now + delay, polls + 1
        delay = rest.longest(QUIET, now)
    assert now < 111.0
    assert polls <= 24


def test_where_something_tells_it_rests_until_the_next_turn_is_due() -> None:
    """Whatever came just now."""
    rest = wait_of(Clock(), lambda: False)
    assert [rest.longest(pulse, 100.0) for pulse in (QUIET, FRESH)] == [15.0, 15.0]


async def test_it_asks_half_as_often_where_nothing_has_changed_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And as before once something has."""
    clock = Clock()
    asked: list[float] = []
    delays: list[float] = []

    def changed() -> bool:
        asked.append(clock.now)
        return len(asked) in {60, 63}

    def call_later(delay: float, what: Callable[..., None], *args: Any) -> Mock:
        delays.append(delay)
        if args:  # not the end of the rest, which comes first and is far away
            clock.now += delay
            what(*args)
        return Mock()

    loop = Mock(call_later=call_later)
    monkeypatch.setattr("shipper.drain.wait.asyncio.get_running_loop", lambda: loop)
    resting = wait_of(clock, changed)
    await resting(15.0)
    # Fifty make ten seconds, by the last bit of a float more or less.
    assert (delays[:51], delays[52:]) == ([15.0] + [0.2] * 50, [0.4] * 9)
    delays.clear()
    await resting(15.0)
    assert delays == [15.0, 0.2, 0.2, 0.2]


@pytest.mark.parametrize("ended", [True, False])
async def test_the_loop_gets_its_turn_however_short_the_wait_is(
    ended: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    """A tick that asked the database in the loop has waited for nothing: a stop gets through."""
    rest, got = wait_of(Clock()), asyncio.Event()
    asyncio.get_running_loop().call_soon(got.set)
    if ended:
        rest.end()
    await rest(15.0 if ended else 0.0)
    assert got.is_set()

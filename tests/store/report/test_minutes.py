"""The statistics: minutes that grow, that can be read, and that don't stay for ever."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.daemon.chores import Statistics
from shipper.drain.tally import Totals
from shipper.errors import StoreUnavailable
from shipper.store.report import minutes
from shipper.store.report.minutes import KEPT, Minute, add, since
from shipper.system.confirmed_time import Confirmed
from tests.store.daemons import NOW

MINUTE = NOW // 60 * 60
DAY = 86400.0


def a_minute(at: float = MINUTE, destination: str = "default", **counts: Any) -> Minute:
    """Return a minute with nothing in it but what is said."""
    nothing = {"delivered": 0, "retried": 0, "dead": 0, "latency_sum": 0.0, "latency_max": 0.0}
    return Minute(at, destination, **(nothing | counts))


def test_a_minute_is_read_as_it_was_written(engine: Engine) -> None:
    """In the order of time, then of names."""
    later = a_minute(MINUTE + 60, delivered=1, latency_sum=0.25, latency_max=0.25)
    other = a_minute(destination="other", retried=2**40, dead=3)
    first = a_minute(delivered=7)
    add(engine, [later, other, first], NOW)
    assert since(engine, MINUTE) == [first, other, later]
    assert since(engine, MINUTE + 0.001) == [later]


def test_a_minute_grows(engine: Engine) -> None:
    """A daemon that begins anew within it adds; the longest latency stays the longest."""
    add(engine, [a_minute(delivered=2, latency_sum=3.0, latency_max=2.5)], NOW)
    add(engine, [a_minute(delivered=1, dead=1, latency_sum=0.5, latency_max=0.5)], NOW)
    add(engine, [a_minute(delivered=1, latency_sum=9.0, latency_max=9.0)], NOW)
    assert since(engine, 0.0) == [a_minute(delivered=4, dead=1, latency_sum=12.5, latency_max=9.0)]


def test_the_table_has_an_end(engine: Engine) -> None:
    """What is too old goes with the next minute, and what a wrong clock wrote far ahead."""
    kept = a_minute(NOW - KEPT, delivered=1)
    add(engine, [kept, a_minute(NOW - KEPT - 1, dead=1), a_minute(NOW + 2 * DAY, dead=1)], NOW)
    assert since(engine, 0.0) == [kept]
    add(engine, [a_minute(delivered=1)], NOW + 60)
    assert since(engine, 0.0) == [a_minute(delivered=1)]


# -- the chore ----------------------------------------------------------------------------------


class Counted:
    """A tally and a clock in one: it says what a test says."""

    def __init__(self) -> None:
        self.now = MINUTE + 30
        self.stepped = 0.0
        self.totals_now: dict[str, Totals] = {}

    def count(self, **counts: Any) -> None:
        """Say how many there are by now."""
        nothing = {"delivered": 0, "retried": 0, "dead": 0, "latency_sum": 0.0}
        values = nothing | {"latency_max": 0.0} | counts
        self.totals_now = {"default": Totals(**values)}

    def totals(self, *, restart_max: bool) -> dict[str, Totals]:
        """Return it."""
        assert restart_max
        return self.totals_now

    def wall(self) -> float:
        """Return the time."""
        return self.now + self.stepped

    def monotonic(self) -> float:
        """Return the time that nobody sets."""
        return self.now


async def _at_once(work: Callable[[], None]) -> None:
    work()


@pytest.fixture
def counted() -> Counted:
    """Give a tally without anything in it, in the middle of a minute."""
    return Counted()


@pytest.fixture
def write(engine: Engine, counted: Counted) -> Callable[[float], None]:
    """Give a way to ring the chore at a time."""
    confirmed = Confirmed(counted)  # type: ignore[arg-type]
    statistics = Statistics(engine, _at_once, counted, counted, confirmed)  # type: ignore[arg-type]

    def ring(at: float) -> None:
        counted.now = at
        asyncio.run(statistics.write())

    return ring


Write = Callable[[float], None]


def test_each_minute_has_what_came_in_it(engine: Engine, counted: Counted, write: Write) -> None:
    """Rung at its end, and sometimes a bit late."""
    counted.count(delivered=5, latency_sum=2.0, latency_max=1.0)
    write(MINUTE + 60.01)
    counted.count(delivered=7, retried=1, dead=2, latency_sum=2.5, latency_max=0.25)
    write(MINUTE + 120.9)
    assert since(engine, 0.0) == [
        a_minute(delivered=5, latency_sum=2.0, latency_max=1.0),
        a_minute(MINUTE + 60, delivered=2, retried=1, dead=2, latency_sum=0.5, latency_max=0.25),
    ]


def test_a_minute_without_events_is_not_written(
    engine: Engine, counted: Counted, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of an idle machine may sleep."""
    counted.count(delivered=1)
    write(MINUTE + 60)
    monkeypatch.setattr(minutes, "add", lambda *_: pytest.fail("written"))
    write(MINUTE + 120)


def test_what_could_not_be_written_comes_later(
    engine: Engine, counted: Counted, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its longest latency; nothing is counted twice."""

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    counted.count(delivered=3, latency_sum=4.0, latency_max=4.0)
    with monkeypatch.context() as patch:
        patch.setattr(minutes, "add", away)
        with pytest.raises(StoreUnavailable):
            write(MINUTE + 60)
    counted.count(delivered=4, latency_sum=4.5, latency_max=0.5)
    write(MINUTE + 120)
    write(MINUTE + 180)
    assert since(engine, 0.0) == [
        a_minute(MINUTE + 60, delivered=4, latency_sum=4.5, latency_max=4.0)
    ]


def test_a_clock_that_is_set_back_ends_nothing(
    engine: Engine, counted: Counted, write: Write
) -> None:
    """What came meanwhile is of the time that it is now."""
    counted.count(delivered=1)
    counted.stepped = -3600.0
    write(MINUTE + 60.0)
    assert since(engine, 0.0) == [a_minute(MINUTE - 3600.0, delivered=1)]


@pytest.mark.parametrize("step", [30 * DAY, -30 * DAY, 3652 * DAY, -3652 * DAY])
def test_a_clock_that_is_set_takes_no_minute_away(
    engine: Engine, counted: Counted, write: Write, step: float
) -> None:
    """Until it has been so for as long as minutes stay; nor is one of half the way written."""
    counted.count(delivered=1)
    write(MINUTE + 60.0)
    counted.stepped = step
    counted.count(delivered=2)
    write(MINUTE + 120.0)
    kept = [a_minute(MINUTE, delivered=1), a_minute(MINUTE + 60 + step, delivered=1)]
    assert since(engine, 0.0) == sorted(kept, key=lambda minute: minute.minute)
    counted.count(delivered=3)
    write(MINUTE + 9 * DAY)
    assert [minute.minute for minute in since(engine, 0.0)][-1] // DAY == (
        (MINUTE + 4.5 * DAY + step) // DAY
    )
    assert len(since(engine, 0.0)) < 3

"""What is believed of a wall clock that somebody sets: what the monotonic clock has seen pass."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.system.confirmed_time import _REMEMBERED, Confirmed
from tests.observe.clocks import Hand

HOUR, DAY = 3600.0, 86400.0
YEAR = 365.25 * DAY
WEEK = 7 * DAY


def pass_time(clock: Hand, confirmed: Confirmed, seconds: float) -> None:
    """Let time pass for a daemon that looks now and then."""
    for _ in range(20):
        clock.now += seconds / 20
        confirmed.look()


def test_a_clock_that_is_right_is_believed_at_once() -> None:
    """To the second, whatever somebody asks for."""
    clock = Hand()
    confirmed = Confirmed(clock)
    confirmed.begin(clock.wall() - 5.0)
    pass_time(clock, confirmed, WEEK + 10.0)
    assert confirmed.at_least(WEEK) == confirmed.at_most(WEEK) == clock.wall()


@pytest.mark.parametrize("step", [60.0, 30 * DAY, YEAR, 10 * YEAR])
def test_a_step_forward_is_believed_once_it_is_as_old_as_what_it_would_delete(step: float) -> None:
    """Until then the time goes on as if nobody had set the clock."""
    clock = Hand()
    confirmed = Confirmed(clock)
    pass_time(clock, confirmed, HOUR)
    unset = clock.offset
    clock.offset += step
    confirmed.look()
    pass_time(clock, confirmed, WEEK - 1.0)
    assert confirmed.at_least(WEEK) == clock.now + unset
    assert confirmed.at_least(HOUR) == clock.wall()
    pass_time(clock, confirmed, 2.0)
    assert confirmed.at_least(WEEK) == clock.wall()


@pytest.mark.parametrize("step", [60.0, 30 * DAY, 10 * YEAR])
def test_what_was_stamped_while_the_clock_was_behind_is_not_old_at_once(step: float) -> None:
    """When it is set right, a row of a minute ago says that it is of `step` ago."""
    clock = Hand()
    confirmed = Confirmed(clock)
    pass_time(clock, confirmed, WEEK)
    clock.offset -= step
    assert confirmed.at_least(WEEK) == clock.wall()
    row = clock.wall()
    pass_time(clock, confirmed, 60.0)
    clock.offset += step
    pass_time(clock, confirmed, WEEK - 61.0)
    assert confirmed.at_least(WEEK) - row < WEEK
    pass_time(clock, confirmed, 62.0)
    assert confirmed.at_least(WEEK) - row > WEEK


def test_many_small_steps_are_one_large_one() -> None:
    """A minute every few minutes, 10,000 times: nothing that is remembered grows with that."""
    clock = Hand()
    confirmed = Confirmed(clock)
    began = clock.wall()
    for _ in range(10_000):
        clock.now += 1.0
        clock.offset += 60.0
        confirmed.look()
    assert confirmed.at_least(WEEK) == began + 10_000.0
    assert len(confirmed._least.noted) <= _REMEMBERED
    assert len(confirmed._most.noted) <= _REMEMBERED


def test_a_machine_that_wakes_up_in_another_year_believes_the_outbox() -> None:
    """No later than its newest time and what has passed since; a week later, its own clock."""
    clock = Hand()
    newest = clock.wall() - 30 * DAY
    confirmed = Confirmed(clock)
    confirmed.begin(newest)
    confirmed.begin(clock.wall())  # a reload: what it knew then is no news
    pass_time(clock, confirmed, DAY)
    assert confirmed.at_least(WEEK) == pytest.approx(newest + DAY)
    assert confirmed.unstepped(WEEK) == clock.wall()
    pass_time(clock, confirmed, 6 * DAY + 1.0)
    assert confirmed.at_least(WEEK) == clock.wall()


@pytest.mark.parametrize("ahead", [DAY, 10 * YEAR, 1e12, float("inf")])
def test_a_row_of_the_future_makes_it_no_later(ahead: float) -> None:
    """It is what a clock that was wrong for a while leaves behind."""
    clock = Hand()
    confirmed = Confirmed(clock)
    confirmed.begin(clock.wall() + ahead)
    assert confirmed.at_least(WEEK) == clock.wall()
    assert confirmed.at_most(WEEK) < 253402300800.0


def test_an_empty_outbox_says_nothing() -> None:
    """The first start of all."""
    clock = Hand()
    confirmed = Confirmed(clock)
    confirmed.begin(None)
    assert confirmed.at_least(WEEK) == confirmed.at_most(WEEK) == clock.wall()


@pytest.mark.parametrize("step", [30 * DAY, -30 * DAY])
def test_the_next_process_of_the_boot_goes_on_with_what_was_noted(step: float) -> None:
    """A restart after a step is no reason to believe it, whatever was stamped meanwhile."""
    clock = Hand()
    before = Confirmed(clock)
    before.begin(None)
    pass_time(clock, before, DAY)
    clock.offset += step
    pass_time(clock, before, HOUR)
    after = Confirmed(clock)
    after.begin(clock.wall(), orjson.loads(orjson.dumps(before.notes())))
    assert after.at_least(WEEK) == before.at_least(WEEK)
    assert after.at_most(WEEK) == before.at_most(WEEK)
    pass_time(clock, after, WEEK)
    assert after.at_least(WEEK) == after.at_most(WEEK) == clock.wall()


def test_a_step_while_nobody_ran_is_seen_by_the_next_process_of_the_boot() -> None:
    """It compares with what the last one has seen."""
    clock = Hand()
    before = Confirmed(clock)
    notes = orjson.loads(orjson.dumps(before.notes()))
    clock.now += HOUR
    unset = clock.wall()
    clock.offset += 30 * DAY
    after = Confirmed(clock)
    after.begin(clock.wall(), notes)
    assert after.at_least(WEEK) == unset


@pytest.mark.parametrize(
    "notes",
    [
        None, 7, "x", [], {}, {"least": [], "most": [], "floor": []}, {"least": 1, "most": 2},
        {"least": [[1e9, 0.0]], "most": [[1.0, 0.0]], "floor": []},
        {"least": [["a", "b"]], "most": [["a", "b"]], "floor": []},
        {"least": [[1.0]], "most": [[1.0]], "floor": []},
    ],
)  # fmt: skip
def test_notes_that_are_none_say_nothing(notes: object) -> None:
    """Or that are of a clock which is ahead of ours: another boot's, for all we know."""
    clock = Hand()
    confirmed = Confirmed(clock)
    newest = clock.wall() - DAY
    confirmed.begin(newest, notes)
    assert confirmed.at_least(WEEK) == newest


_STEPS = st.tuples(
    st.floats(0.0, 3 * DAY), st.one_of(st.just(0.0), st.floats(-12 * YEAR, 12 * YEAR))
)


@given(st.lists(_STEPS, max_size=30), st.sampled_from([1.0, HOUR, WEEK]))
def test_nothing_is_old_before_its_time_has_really_passed(
    steps: list[tuple[float, float]], period: float
) -> None:
    """However the clock is set: rows are stamped by it, and judged by what is believed."""
    clock = Hand()
    confirmed = Confirmed(clock)
    rows: list[tuple[float, float]] = []
    for elapsed, step in steps:
        rows.append((clock.now, clock.wall()))
        clock.now += elapsed
        confirmed.look()
        rows.append((clock.now, clock.wall()))
        clock.offset += step
        believed = confirmed.at_least(period)
        for written, stamped in rows:
            is_over = believed - stamped > period + 1e-3
            assert not is_over or clock.now - written >= period - 1.0


@given(st.lists(_STEPS, max_size=10), st.sampled_from([HOUR, WEEK]))
def test_after_a_calm_period_the_clock_is_believed_again(
    steps: list[tuple[float, float]], period: float
) -> None:
    """Nothing stays for ever because of what was once wrong."""
    clock = Hand()
    confirmed = Confirmed(clock)
    for elapsed, step in steps:
        clock.now += elapsed
        clock.offset += step
        confirmed.look()
    clock.now += period + 1.0
    assert abs(confirmed.at_least(period) - clock.wall()) <= 1.0
    assert abs(confirmed.at_most(period) - clock.wall()) <= 1.0

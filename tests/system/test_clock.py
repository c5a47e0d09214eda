"""Times as they are written, and the machine's own clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.clock import Clock, SystemClock, iso, parse_iso


@given(st.floats(-6e10, 2.5e11))
def test_what_is_written_is_read_again_to_the_millisecond(wall: float) -> None:
    """And never in a later millisecond (but for what a float can't hold in far centuries)."""
    again = parse_iso(iso(wall))
    assert -0.00001 <= wall - again < 0.00101


@given(st.lists(st.floats(0, 4e9), min_size=2))
def test_written_times_sort_like_the_times_themselves(walls: list[float]) -> None:
    """The database compares them as texts."""
    assert [iso(wall) for wall in sorted(walls)] == sorted(iso(wall) for wall in walls)


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("1970-01-01T00:00:00.000Z", 0.0),
        ("1970-01-01T00:00:01.500Z", 1.5),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1970-01-01 00:00:02", 2.0),
        ("1970-01-02", 86400.0),
    ],
)
def test_iso_8601_is_read_in_utc_where_it_names_no_zone(text: str, wall: float) -> None:
    """Operators write dates and times without a zone; times are UTC."""
    assert parse_iso(text) == wall


def test_a_time_is_written_with_milliseconds_and_z() -> None:
    """As the database and `--json` show it."""
    assert iso(1_795_421_700.123) == "2026-11-23T08:15:00.123Z"
    assert iso(0.0) == "1970-01-01T00:00:00.000Z"


@given(st.text(max_size=30))
def test_what_is_no_time_is_a_value_error(text: str) -> None:
    """And nothing else: somebody may have written into the row by hand."""
    try:
        wall = parse_iso(text)
    except ValueError:
        return
    assert isinstance(wall, float)


def test_the_machines_clocks_go_forward() -> None:
    """And chance is in [0, 1)."""
    clock: Clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.wall() > 1_700_000_000
    draws = [clock.random() for _ in range(1000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert len(set(draws)) > 990

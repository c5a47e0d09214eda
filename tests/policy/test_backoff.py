"""Waits stay within their bounds, whatever the numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.policy.backoff import Backoff

_SECONDS = st.floats(0.001, 1e6)
_CHANCE = st.floats(0.0, 1.0, exclude_max=True)


@given(_SECONDS, _SECONDS, st.integers(1, 10**9), _CHANCE)
def test_a_wait_is_drawn_between_its_bounds(
    low: float, high: float, failures: int, chance: float
) -> None:
    """From min_delay to min(max_delay, min_delay * 2**n), and never beyond max_delay."""
    doubled = low * 2.0 ** min(failures, 60)
    wait = Backoff(low, high).delay(failures, chance)
    assert min(low, high) <= wait <= min(high, doubled) * (1 + 1e-12)


@given(_SECONDS, _SECONDS, st.integers(1, 10**9), _CHANCE)
def test_the_same_chance_never_waits_shorter_after_one_failure_more(
    low: float, high: float, failures: int, chance: float
) -> None:
    """Waits grow until they meet the ceiling."""
    backoff = Backoff(low, high)
    assert backoff.delay(failures + 1, chance) >= backoff.delay(failures, chance)


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 2), (2, 4), (5, 32), (6, 60), (10**6, 60)])
def test_the_ceiling_doubles_up_to_max_delay(failures: int, ceiling: float) -> None:
    """With no luck at all it is just below the ceiling, with all luck it is min_delay."""
    backoff = Backoff(1.0, 60.0)
    assert backoff.delay(failures, 0.0) == 1.0
    assert backoff.delay(failures, 1.0) == ceiling


def test_max_delay_wins_over_a_greater_min_delay() -> None:
    """A probe_max_delay below min_delay means what it says."""
    assert Backoff(60.0, 5.0).delay(3, 0.7) == 5.0

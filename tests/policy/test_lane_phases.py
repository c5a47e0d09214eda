"""A lane is in one phase at a time, and skips none."""

import pytest

from shipper.policy.lanes.lane import Lane
from shipper.policy.lanes.phase import FORGOTTEN, IDLE, IN_FLIGHT, READY, WAITING, Phase


def in_phase(phase: Phase) -> Lane:
    """Return a lane in a phase."""
    return Lane("k", phase)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not IDLE])
def test_a_lane_in_flight_goes_nowhere_before_its_try_is_recorded(phase: Phase) -> None:
    """Else its head would be sent a second time, or its next beside it."""
    with pytest.raises(AssertionError, match="IN_FLIGHT can't become"):
        in_phase(IN_FLIGHT).enter(phase)


@pytest.mark.parametrize("phase", Phase)
def test_a_lane_that_is_forgotten_stays_so(phase: Phase) -> None:
    """Another lane may have its name by now."""
    with pytest.raises(AssertionError, match="FORGOTTEN can't become"):
        in_phase(FORGOTTEN).enter(phase)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not READY])
def test_only_what_is_ready_is_sent(phase: Phase) -> None:
    """What waits, or isn't loaded, has to be placed first."""
    with pytest.raises(AssertionError, match="can't become IN_FLIGHT"):
        in_phase(phase).enter(IN_FLIGHT)


def test_a_lane_waits_and_goes_on() -> None:
    """By way of being placed anew."""
    lane = in_phase(IDLE)
    for phase in (WAITING, IDLE, READY, IN_FLIGHT, IDLE, FORGOTTEN):
        lane.enter(phase)
    assert lane.phase is FORGOTTEN

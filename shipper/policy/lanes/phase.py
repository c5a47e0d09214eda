"""The phases of a lane, and which can follow which. Pure.

It must never let a lane leave IN_FLIGHT for any phase but IDLE: an event would be sent a second
time before the outcome of its try is recorded.
"""

from enum import IntEnum


class Phase(IntEnum):
    """What happens next to a lane.

    IDLE → READY → IN_FLIGHT → IDLE; IDLE or READY → TO_FETCH → FETCHING → IDLE; IDLE → WAITING →
    IDLE. If nothing of a lane is left, it goes from one of the first three to FORGOTTEN.

    The order matters: from FETCHING on, a lane must wait until something ends.
    """

    IDLE = 0
    """Nothing, or rows that were asked for arrive."""
    READY = 1
    """Its head can be sent."""
    TO_FETCH = 2
    """Its rows are to be fetched by its key: the loaded ones are used up, or unloaded."""
    FETCHING = 3
    """Its rows have been asked for."""
    WAITING = 4
    """Its head waits until `due`."""
    IN_FLIGHT = 5
    """Its head is sent, and the outcome isn't recorded yet."""
    FORGOTTEN = 6
    """It is unknown now; a new lane can have its name."""


IDLE, READY, TO_FETCH, FETCHING, WAITING, IN_FLIGHT, FORGOTTEN = Phase

_MOVES: dict[Phase, tuple[Phase, ...]] = {
    IDLE: (READY, TO_FETCH, WAITING, FORGOTTEN),
    READY: (IN_FLIGHT, TO_FETCH, IDLE, FORGOTTEN),
    TO_FETCH: (FETCHING, FORGOTTEN),
    FETCHING: (IDLE,),
    WAITING: (IDLE,),
    IN_FLIGHT: (IDLE,),
    FORGOTTEN: (),
}
FOLLOWING = tuple(_MOVES[phase] for phase in Phase)  # indexed by number, which is faster

"""The phases of a lane, and which can follow which. Pure.

It must never allow a way past IN_FLIGHT → IDLE: an event whose try isn't recorded yet would be sent
a second time.
"""

from enum import IntEnum


class Phase(IntEnum):
    """What happens next to a lane. From FETCHING on, it can't be placed before something ends.

    IDLE → READY → IN_FLIGHT → IDLE; IDLE or READY → TO_FETCH → FETCHING → IDLE; IDLE → WAITING →
    IDLE. Where nothing of a lane is left, it goes from the first three to FORGOTTEN for good.
    """

    IDLE = 0
    """Nothing, or its claims are awaited."""
    READY = 1
    """Its head can be sent."""
    TO_FETCH = 2
    """Its rows are to be fetched by its key: what was loaded of it is used up, or not valid."""
    FETCHING = 3
    """Its rows have been asked for."""
    WAITING = 4
    """Its head waits until `due`."""
    IN_FLIGHT = 5
    """Its head has been sent, and what came of that isn't recorded yet."""
    FORGOTTEN = 6
    """Its name may stand for another lane by now."""


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
FOLLOWING = tuple(_MOVES[phase] for phase in Phase)  # by number: a look-up costs less

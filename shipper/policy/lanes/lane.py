"""One lane: the events of one key that are loaded, and what is known of the others. Pure.

It must never change its phase but by `move`, which refuses what `phase` doesn't allow.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from shipper.policy.event import Event
from shipper.policy.lanes.phase import FOLLOWING, IDLE, Phase
from shipper.policy.streak import Streak

Name = str | int


class Candidate(NamedTuple):
    """What a look at the outbox shows of a pending row. `wait` is in seconds, 0 when it is due.

    `failed` says that the row has waited before: it takes its turn with those that are tried again.
    `held` says that its key was held at the time of the look.
    """

    id: int
    lane: Name
    wait: float = 0.0
    failed: bool = False
    held: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """The events of one key: how many are loaded, and what is known of the others."""

    name: Name
    phase: Phase = IDLE
    queue: list[Event] = field(default_factory=list)
    claiming: int = 0  # asked for, not yet loaded
    last_id: int = 0  # of what is loaded or claimed, or of the head that it waits for
    streak: Streak | None = None  # of its head

    # Three things that can be wrong with what is loaded, and each has another remedy.
    incomplete: bool = False  # there may be more in the database: fetch it once this is used up
    stale: bool = False  # it is no longer the beginning of the lane: empty it, then fetch
    gap: bool = False  # what is being claimed follows something that isn't: drop it when it comes

    # Of the line of those that are ready.
    queued: bool = False  # an entry stands in it, void unless the phase is READY
    place: int = 0  # the smaller, the earlier it came
    again: bool = False  # was taken from the line of those that had failed before
    woken: bool = False  # has waited, and its head hasn't ended since

    # Of those that wait.
    due: float | None = None  # until then
    charged: bool = False  # what it waits for was charged to its head
    hurried: bool = False  # was woken before its time
    met: int = 0  # the sweep that has last met the head that it waits for

    def move(self, phase: Phase) -> None:
        """Enter a phase: the only place where one changes."""
        assert phase in FOLLOWING[self.phase], f"{self.phase.name} can't become {phase.name}"
        self.phase = phase

    @property
    def head(self) -> Event:
        """Return the event that goes next, or is in flight."""
        return self.queue[0]

    def streak_of_head(self) -> Streak:
        """Return the head's streak of failures; a new one if the last was another event's."""
        streak, event = self.streak, self.queue[0].id
        if streak is None or streak.event != event:
            streak = self.streak = Streak(event)
        return streak

"""One lane: the loaded events of one key, and what is known about the others. Pure.

It decides nothing but whether a change of phase is legal. Nothing else must ever set the phase.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from shipper.policy.event import Event
from shipper.policy.lanes.phase import FETCHING, FOLLOWING, IDLE, WAITING, Phase
from shipper.policy.streak import Streak

Name = str | int
UNKNOWN = -1
"""The shard of a lane of which only the name is known."""


class Candidate(NamedTuple):
    """A pending row as a look at the outbox shows it. `wait` is in seconds; 0 if the row is due.

    `failed` says that the row has been tried before. `held` says that its key was held at the time
    of the look. `shard` is the shard that the lane lies in.
    """

    id: int
    lane: Name
    wait: float = 0.0
    failed: bool = False
    held: bool = False
    shard: int = 0


@dataclass(slots=True, eq=False)
class Lane:
    """The loaded events of one key, in order, and what is known about the others."""

    name: Name
    phase: Phase = IDLE
    queue: list[Event] = field(default_factory=list)
    claiming: int = 0  # how many of its rows are asked for and not loaded yet
    last_id: int = 0  # the largest id loaded or asked for, or the head's if the lane waits
    streak: Streak | None = None  # of the head, if it has failed

    # Three things can be wrong with the loaded events; each has its own remedy.
    incomplete: bool = False  # the database may have more: fetch them when these are used up
    stale: bool = False  # they are no longer the beginning of the lane: unload them, then fetch
    gap: bool = False  # a row before those asked for is missing: drop what arrives

    # Kept by `ready`.
    queued: bool = False  # whether an entry stands in a line; it is void unless the phase is READY
    place: int = 0  # the number of the entry; the smaller, the earlier
    again: bool = False  # whether the head was taken from the line of failed heads
    woken: bool = False  # whether the lane has waited for its present head

    # Kept by `waiting`.
    due: float | None = None  # when the wait ends
    charged: bool = False  # whether the failure before the wait was charged to the head
    hurried: bool = False  # whether the wait was ended early
    kept: int = 0  # how many events stay loaded while it waits
    met: int = 0  # the last sweep that met the head

    begun_by: int = 0  # the number of the sweep that has seen its first row; 0 if none has

    # Kept by `handover`.
    shard: int = UNKNOWN
    leaves: bool = False  # whether it goes to another daemon: it starts nothing, and is forgotten

    def enter(self, phase: Phase) -> None:
        """Enter a phase. An illegal move raises AssertionError."""
        assert phase in FOLLOWING[self.phase], f"{self.phase.name} can't become {phase.name}"
        self.phase = phase

    def is_shut(self, depth: int) -> bool:
        """Return whether no row can follow: it has `depth` rows, lacks one, or waits."""
        is_full = len(self.queue) + self.claiming >= depth
        return is_full or self.incomplete or FETCHING <= self.phase <= WAITING

    def meets(self, row: Candidate, sweep: int) -> bool:
        """Take in a row that a sweep has met while the lane waits; return whether to wake it.

        That is so if the head it waits for is gone, or if an operator has made it due.
        """
        is_head, met = row.id == self.last_id, self.met
        self.met = sweep
        return not row.failed if is_head else met != sweep

    @property
    def head(self) -> Event:
        """Return the event that is in flight, or goes next."""
        return self.queue[0]

    def first_failure(self) -> int | None:
        """Return which try had begun last when the head failed first; None if it hasn't failed."""
        streak = self.streak
        return None if streak is None or streak.event != self.queue[0].id else streak.began

    def streak_of_head(self) -> Streak:
        """Return the head's streak of failures; a new one if there is none yet."""
        streak, event = self.streak, self.queue[0].id
        if streak is None or streak.event != event:
            streak = self.streak = Streak(event)
        return streak

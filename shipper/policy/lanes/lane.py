"""One lane: the events of one key, how many are loaded, and what stands in their way."""

from dataclasses import dataclass, field
from typing import NamedTuple

from shipper.policy.event import Event

Name = str | int


class Candidate(NamedTuple):
    """What a look at the outbox tells of a pending row. `wait` is in seconds, 0 when it is due.

    `failed` says that it has waited before: it takes its turn with those that are tried again.
    `held` is whether its key was held just then.
    """

    id: int
    lane: Name
    wait: float = 0.0
    failed: bool = False
    held: bool = False


@dataclass(slots=True)
class Streak:
    """An event's failures in a row, charged or not; it ends when the event leaves its place."""

    event: int
    failures: int = 0
    began: int | None = None  # the last try begun, of any event, when the first failure came
    noted_outage: int = 0  # the outage for which the event's history has its row

    def fail(self, begun: int) -> None:
        """Count a failure; `begun` is how many tries of any event have begun so far."""
        self.failures += 1
        if self.began is None:
            self.began = begun


@dataclass(slots=True)
class Lane:
    """The events of one key: how many are loaded, and what stands in their way."""

    name: Name
    queue: list[Event] = field(default_factory=list)
    claiming: int = 0  # asked for, not yet loaded
    in_flight: bool = False
    again: bool = False  # was taken from the line of those that had failed before
    woken: bool = False  # has waited, and its head hasn't ended since
    queued: bool = False  # stands in a ready line
    place: int = 0  # there: who has the smaller one came first
    hungry: bool = False  # stands in the line of those to fetch
    fetching: bool = False  # its page has been asked for
    more: bool = False  # the database has events of this lane that aren't loaded
    stale: bool = False  # what is loaded is no longer the beginning of the lane
    gap: bool = False  # what is being claimed would come before its predecessor
    due: float | None = None  # waits until then
    charged: bool = False  # what it waits for was charged to its head
    hurried: bool = False  # was woken before its time
    met: int = 0  # the sweep that has last met the head that it waits for
    last_id: int = 0  # of what is loaded or claimed, or of the head that it waits for
    streak: Streak | None = None

    @property
    def head(self) -> Event:
        """Return the event that goes next, or is in flight."""
        return self.queue[0]

    def streak_of_head(self) -> Streak:
        """Return the head's streak of failures; a new one if the last was another event's."""
        if self.streak is None or self.streak.event != self.head.id:
            self.streak = Streak(self.head.id)
        return self.streak

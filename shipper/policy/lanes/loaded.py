"""Which events of a destination are in memory, and how many more can be loaded. Pure.

It must never count an event twice, or forget an event before its claim is released.
"""

from shipper.policy.event import Event
from shipper.policy.lanes.lane import Lane, Name

KEPT_SHARE = 4


class Loaded:
    """The ids that are claimed or asked for, and the bytes of the loaded events.

    `window` bounds the number of events, `bytes_max` the sum of their payloads.
    """

    def __init__(self, window: int, bytes_max: int) -> None:
        self.window = window
        self.bytes_max = bytes_max
        self.bytes = 0
        self.kept = 0
        """How many of the events belong to lanes that wait."""
        self.kept_lanes: set[Name] = set()
        """The lanes that wait and stay loaded."""
        self.released: list[int] = []
        """The ids that were unloaded: the next turn releases their claims."""
        self.ids: set[int] = set()

    def __contains__(self, row: int) -> bool:
        """Return whether an id is claimed or asked for."""
        return row in self.ids

    def room(self) -> int:
        """Return how many more events can be loaded."""
        return 0 if self.bytes >= self.bytes_max else max(0, self.window - len(self.ids))

    def may_keep(self, lane: Lane) -> bool:
        """Return whether the events of a lane can stay loaded while it waits.

        Such lanes have at most a quarter of the window, and nothing of the second half of the
        bytes: the rest is for lanes that can go.
        """
        events = len(lane.queue) + lane.claiming  # what was asked for comes while it waits
        is_room = self.kept + events <= self.window // KEPT_SHARE
        return is_room and self.bytes <= self.bytes_max // 2

    def keep(self, lane: Lane) -> None:
        """Count the events of a lane that waits."""
        lane.kept = len(lane.queue) + lane.claiming
        self.kept += lane.kept
        self.kept_lanes.add(lane.name)

    def keep_no_longer(self, lane: Lane) -> None:
        """Stop counting the events of a lane: it doesn't wait any more, or is unloaded."""
        self.kept -= lane.kept
        lane.kept = 0
        self.kept_lanes.discard(lane.name)

    def expect(self, row: int) -> None:
        """Count an id that is asked for."""
        self.ids.add(row)

    def miss(self, row: int) -> None:
        """Stop counting an id that could not be claimed."""
        self.ids.discard(row)

    def arrive(self, event: Event) -> None:
        """Count the bytes of an event that was asked for and is claimed now."""
        self.bytes += len(event.payload)

    def end(self, event: Event) -> None:
        """Stop counting an event whose end is recorded."""
        self.bytes -= len(event.payload)
        self.ids.discard(event.id)

    def let_go(self, event: Event) -> None:
        """Stop counting an event that stays pending; its claim is to be released."""
        self.end(event)
        self.released.append(event.id)

    def forget_released(self, number: int) -> None:
        """Forget the first so many ids that were unloaded, because their claims are released.

        Not before: a daemon that stops may go on after a turn that has failed.
        """
        del self.released[:number]

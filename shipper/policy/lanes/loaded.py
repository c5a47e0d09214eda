"""What of a destination is in memory, or about to be: how much room there is for more. Pure.

It must never count an event twice, nor forget one whose claim is still to be let go.
"""

from shipper.policy.event import Event


class Loaded:
    """The ids that are claimed, or about to be, and the bytes of those that are here.

    `window` bounds the events, `bytes_max` their bytes.
    """

    def __init__(self, window: int, bytes_max: int) -> None:
        self.window = window
        self.bytes_max = bytes_max
        self.bytes = 0
        self.released: list[int] = []
        """Ids that are loaded no more, so that their claim can be let go."""
        self.ids: set[int] = set()

    def __contains__(self, row: int) -> bool:
        """Return whether an id is one of them."""
        return row in self.ids

    def room(self) -> int:
        """Return how many more events may be loaded."""
        return 0 if self.bytes >= self.bytes_max else max(0, self.window - len(self.ids))

    def expect(self, row: int) -> None:
        """Count an id that is to be claimed."""
        self.ids.add(row)

    def miss(self, row: int) -> None:
        """Take in that an id could not be claimed."""
        self.ids.discard(row)

    def arrive(self, event: Event) -> None:
        """Count the bytes of an event that was expected."""
        self.bytes += len(event.payload)

    def end(self, event: Event) -> None:
        """Take in that an event needs no room any more."""
        self.bytes -= len(event.payload)
        self.ids.discard(event.id)

    def let_go(self, event: Event) -> None:
        """Do the same for one that stays pending: its claim is to be let go."""
        self.end(event)
        self.released.append(event.id)

    def take_released(self) -> list[int]:
        """Return the ids whose claim is to be let go, once."""
        released, self.released = self.released, []
        return released

"""When events failed first whose lane isn't remembered any more: before which try. Pure.

Without it such an event would fail for the first time again and again: that is charged to nobody,
and speaks against the link. It takes a megabyte, however many they are: where two events share a
place, the later failure is said to be of both. So it may be that a witness isn't believed that
could be, and never the other way round.

It must never say of a failure that it was earlier than it was.
"""

from array import array

from shipper.policy.event import Event
from shipper.policy.streak import Streak

_PLACES = 1 << 17


class Failed:
    """Of each event, or a later one at its place, the try begun last when it failed first."""

    def __init__(self) -> None:
        self._began = array("q")

    def remember(self, streak: Streak | None) -> None:
        """Take in that a lane is forgotten whose head has this streak, if it has failed."""
        if streak is None or streak.began is None:
            return
        self._began = self._began or array("q", bytes(8 * _PLACES))
        place = streak.event % _PLACES
        self._began[place] = max(self._began[place], streak.began)

    def streak_of(self, event: Event) -> Streak | None:
        """Return the streak of an event that has failed; None where nothing is known of it."""
        begins_anew = event.manual and not event.attempts  # a dead letter that was retried
        if not event.failed or begins_anew or not self._began:
            return None
        began = self._began[event.id % _PLACES]
        return Streak(event.id, began=began) if began else None

"""After which try the events of forgotten lanes failed for the first time. Pure.

Without it each failure of such an event would count as its first, which is charged to no event and
speaks against the link. It takes a megabyte for any number of events: if two events share a place,
the later failure counts for both. So blame may overlook a proof, but never sees one that isn't.

It must never say that a failure was earlier than it was.
"""

from array import array

from shipper.policy.event import Event
from shipper.policy.streak import Streak

_PLACES = 1 << 17


class Failed:
    """By event: the number of the latest try that had begun when the event failed first."""

    def __init__(self) -> None:
        self._began = array("q")

    def remember(self, streak: Streak | None) -> None:
        """Keep the beginning of the streak of a lane that is forgotten, if its head has failed."""
        if streak is None or streak.began is None:
            return
        self._began = self._began or array("q", bytes(8 * _PLACES))
        place = streak.event % _PLACES
        self._began[place] = max(self._began[place], streak.began)

    def streak_of(self, event: Event) -> Streak | None:
        """Return the streak of an event that has failed; None if nothing is known about it."""
        begins_anew = event.manual and not event.attempts  # a dead letter that was retried
        if not event.failed or begins_anew or not self._began:
            return None
        began = self._began[event.id % _PLACES]
        return Streak(event.id, began=began) if began else None

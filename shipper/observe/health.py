"""Whether the daemon is alive, and whether it is ready. An API that is down changes neither.

alive    the drain turns: a wedged one is to be killed and started anew
ready    what is written to the outbox is seen: the outbox is ours and the database answers
"""

from typing import Final, Protocol

from shipper.clock import Clock
from shipper.drain.tally import Tally

# An idle drain turns every 15 seconds at least, and every 30 while the database is away.
SILENCE: Final = 60.0


class Turning(Protocol):
    """The drain, as it is seen from here."""

    @property
    def beats(self) -> int:
        """Return a number that grows as long as it turns."""


class Health:
    """Looks at the drain each time somebody asks. Times are monotonic."""

    def __init__(self, drain: Turning, tally: Tally, clock: Clock) -> None:
        self._drain = drain
        self._tally = tally
        self._clock = clock
        self._beats = drain.beats
        self._beat_at = clock.monotonic()

    def why_not_alive(self) -> str | None:
        """Return why it has to be started anew; None where all is well."""
        now = self._clock.monotonic()
        if self._drain.beats != self._beats:
            self._beats, self._beat_at = self._drain.beats, now
        silence = now - self._beat_at
        return f"the drain has not turned for {silence:.0f} s" if silence > SILENCE else None

    def why_not_ready(self) -> str | None:
        """Return why it can't see what is written; None where all is well."""
        silence = self._tally.unanswered_for(self._clock.monotonic())
        if self._tally.lost_at is not None:
            return f"the database has not answered for {silence:.0f} s"
        if silence > SILENCE:
            return f"the drain has not asked the database for {silence:.0f} s"
        return None

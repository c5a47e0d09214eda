"""Whether the daemon is alive, and whether it is ready. An API outage must change neither.

alive    the drain turns: a daemon whose drain hangs has to be killed and restarted
ready    new events are seen: this daemon holds the outbox, and the database answers
"""

from typing import Final, Protocol

from shipper.clock import Clock
from shipper.drain.tally import Tally

# Seconds. An idle drain turns at least every 15 s, and every 30 s while the database is away.
SILENCE: Final = 60.0


class Turning(Protocol):
    """The part of the drain that health needs."""

    @property
    def beats(self) -> int:
        """Return a number that grows as long as the drain turns."""


class Health:
    """Judges the drain at each request. Times are monotonic."""

    def __init__(self, drain: Turning, tally: Tally, clock: Clock) -> None:
        self._drain = drain
        self._tally = tally
        self._clock = clock
        self._beats = drain.beats
        self._beat_at = clock.monotonic()

    def why_not_alive(self) -> str | None:
        """Return why the daemon has to be restarted; None if the drain turns."""
        now = self._clock.monotonic()
        if self._drain.beats != self._beats:
            self._beats, self._beat_at = self._drain.beats, now
        silence = now - self._beat_at
        return f"the drain has not turned for {silence:.0f} s" if silence > SILENCE else None

    def why_not_ready(self) -> str | None:
        """Return why the daemon can't see new events; None if it can."""
        silence = self._tally.unanswered_for(self._clock.monotonic())
        if self._tally.lost_at is not None:
            return f"the database has not answered for {silence:.0f} s"
        if silence > SILENCE:
            return f"the drain has not asked the database for {silence:.0f} s"
        return None

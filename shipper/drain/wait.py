"""How long the drain waits when there is nothing to do, and what ends the wait.

Some databases show cheaply whether they have changed (`Rhythm.changed`); others have to be polled.
`longest` must never return more than `Rhythm.idle`: the watchdog and the lease depend on that.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from shipper.clock import Clock
from shipper.store.drain.messages import Pulse

# The drain polls a database again after a quarter of the time since its last change: events often
# come in groups, and the polls after each group are few.
_POLL_SHARE = 0.25
_POLL_LEAST = 0.008
# Only polling shows that a transaction which holds events back has ended; most take milliseconds.
_HELD_BACK_LEAST = 0.004
_HELD_BACK_MOST = 0.05
# After this many seconds without a change, the drain asks half as often: waking an idle CPU costs
# more than the question.
_DROWSY_AFTER = 10.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often an idle dispatcher looks, and how long its lease lasts. All values are in seconds.

    With `changed`, the dispatcher calls it every `poll` seconds, and half as often if nothing has
    changed for a while. It looks at the database when `changed` returns true, and every `idle`
    seconds. Without `changed` it looks every `poll` seconds, and more often after a new event or
    while a transaction holds events back.

    `lease_taken_at` is a monotonic time just before the lease was taken.
    """

    poll: float
    idle: float
    lease_ttl: float
    lease_taken_at: float
    changed: Callable[[], bool] | None = None


class Wait:
    """A wait that ends when its time is over, or when there may be something to do."""

    def __init__(self, rhythm: Rhythm, clock: Clock) -> None:
        self.set(rhythm)
        self._clock = clock
        self._over = asyncio.Event()
        self._question: asyncio.TimerHandle | None = None
        self._changed_at = clock.monotonic()
        self._held_back_at: float | None = None

    def set(self, rhythm: Rhythm) -> None:
        """Use this rhythm from now on."""
        self.idle = rhythm.idle if rhythm.changed else rhythm.poll
        """The longest wait, in seconds."""
        self._poll = rhythm.poll
        self._changed = rhythm.changed

    def end(self) -> None:
        """End the present wait; if there is none, end the next one at once."""
        self._over.set()

    def forget(self) -> None:
        """Forget an earlier `end`."""
        self._over.clear()

    async def __call__(self, delay: float) -> None:
        """Wait for at most `delay` seconds; let the loop do its other work in any case."""
        if delay <= 0 or self._over.is_set():
            # A tick may have waited for nothing: the database can be asked in the loop's thread.
            await asyncio.sleep(0)
        else:
            end = asyncio.get_running_loop().call_later(delay, self._over.set)
            self._ask_later()
            try:
                await self._over.wait()
            finally:
                end.cancel()
                if self._question is not None:
                    self._question.cancel()
        self._over.clear()

    def longest(self, pulse: Pulse, now: float) -> float:
        """Return how many seconds to wait if nothing is due earlier."""
        if pulse.fresh:
            self._changed_at = now
        if self._changed is not None:
            return self.idle
        poll = max(_POLL_LEAST, _POLL_SHARE * (now - self._changed_at))
        if not pulse.held_back:
            self._held_back_at = None
            return min(poll, self.idle)
        since = self._held_back_at = now if self._held_back_at is None else self._held_back_at
        sooner = max(_HELD_BACK_LEAST, _POLL_SHARE * (now - since))
        return min(poll, sooner, _HELD_BACK_MOST, self.idle)

    def _ask_later(self) -> None:
        if self._changed is not None:
            drowsy = self._clock.monotonic() - self._changed_at > _DROWSY_AFTER
            loop = asyncio.get_running_loop()
            delay = self._poll * 2 if drowsy else self._poll
            self._question = loop.call_later(delay, self._ask, self._changed)

    def _ask(self, changed: Callable[[], bool]) -> None:
        if changed():
            self._changed_at = self._clock.monotonic()
            self._over.set()
        else:
            self._ask_later()

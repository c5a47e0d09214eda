"""How long the drain rests where there is nothing to do, and what wakes it.

Some databases tell cheaply whether they have changed, others have to be looked at. `longest` must
never be more than `Rhythm.idle`: the watchdog and the lease live on that.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from shipper.clock import Clock
from shipper.store.drain.messages import Pulse

# Where nothing tells of new events, they come in crowds: after one it looks more often for a while.
_BRISK_POLL = 0.02
_BRISK_FOR = 0.25
# Nothing tells of the end of a transaction that holds events back.
_HELD_BACK_POLL = 0.05
# To be woken costs a machine that sleeps more than what is done then: where nothing has changed for
# so long, it asks half as often.
_DROWSY_AFTER = 10.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often an idle dispatcher looks, and for how long it may trust its lease; seconds.

    `lease_taken_at` is monotonic, and from before the lease was asked for.

    It looks every `idle` seconds, and before that whenever `changed`, asked every `poll` seconds,
    says that it is worth it; half as often once nothing has changed for a while. Without `changed`
    it looks every `poll` seconds.
    """

    poll: float
    idle: float
    lease_ttl: float
    lease_taken_at: float
    changed: Callable[[], bool] | None = None


class Wait:
    """A rest that ends when its time is over, or when there may be something to do."""

    def __init__(self, rhythm: Rhythm, clock: Clock) -> None:
        self.set(rhythm)
        self._clock = clock
        self._over = asyncio.Event()
        self._question: asyncio.TimerHandle | None = None
        self._brisk_until = 0.0
        self._changed_at = clock.monotonic()

    def set(self, rhythm: Rhythm) -> None:
        """Rest as this says from now on."""
        self.idle = rhythm.idle if rhythm.changed else rhythm.poll
        """The longest rest, in seconds."""
        self._poll = rhythm.poll
        self._changed = rhythm.changed

    def end(self) -> None:
        """End the present rest, or the next one at once."""
        self._over.set()

    def forget(self) -> None:
        """Forget what was to end the next rest."""
        self._over.clear()

    async def __call__(self, delay: float) -> None:
        """Rest for so many seconds at most."""
        if delay > 0:
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
        """Return for how many seconds to rest where nothing is known that will happen."""
        if pulse.fresh:
            self._changed_at, self._brisk_until = now, now + _BRISK_FOR
        if self._changed is None and now < self._brisk_until:
            return min(_BRISK_POLL, self.idle)
        return min(_HELD_BACK_POLL, self.idle) if pulse.held_back else self.idle

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

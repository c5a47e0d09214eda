"""A timer that lets the event loop read first: an answer that came in time counts.

It decides how long a deadline that has passed still waits for what has arrived. After the loop has
stood still (a long callback, a machine under load), the time of a request may be over although its
answer lies on the socket, and libuv calls timers before it reads. A deadline that ends a request
then would make a repeat of an event that was accepted.

It must never wait for a byte that hasn't arrived, never call back before its time, and never let a
request begin after its deadline: the lease may be over.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

# How often the loop reads all sockets before a deadline counts. Once is enough for an answer of the
# usual size; httpx takes several turns to read the parts of one.
LAPS: Final = 16


class PatientTimer:
    """Calls back at `when`, in the loop's time, after the loop has read what has arrived.

    If `is_sent` says at `when` that no request was sent, it doesn't wait for the loop.
    """

    __slots__ = ("_call", "_handle", "_is_sent", "_loop")

    def __init__(
        self, when: float, call: Callable[[], None], is_sent: Callable[[], bool] = lambda: True
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._call = call
        self._is_sent = is_sent
        self._handle: asyncio.Handle = self._loop.call_at(when, self._begin)

    def cancel(self) -> None:
        """Don't call back."""
        self._handle.cancel()

    def _begin(self) -> None:
        self._lap(LAPS if self._is_sent() else 0)

    def _lap(self, left: int) -> None:
        if left:
            # Each call comes with another turn of the loop, which reads all sockets once.
            self._handle = self._loop.call_soon(self._lap, left - 1)
        else:
            self._call()


@asynccontextmanager
async def patience_until(when: float, is_sent: Callable[[], bool]) -> AsyncIterator[None]:
    """Raise TimeoutError from the block at `when`, as a PatientTimer understands it."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:
        timer = PatientTimer(when, lambda: timeout.reschedule(loop.time()), is_sent)
        try:
            yield
        finally:
            timer.cancel()

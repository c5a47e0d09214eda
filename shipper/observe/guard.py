"""Keep failures of maintenance work away from the delivery: log them instead of raising them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager

from shipper.logs import Log


class Guard:
    """Logs a chore's failures instead of raising them; each run of equal failures once.

    A database that is away for weeks must not fill the disk with failures of the chores.
    """

    def __init__(self, name: str, log: Log) -> None:
        self._name = name
        self._log = log
        self._failed = ""

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Log a failure in the `with` under the chore's name, unless it is like the one before."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - after any error the drain goes on
            kind = type(error).__name__
            if kind != self._failed:
                self._log("chore.failed", chore=self._name, reason=f"{kind}: {error}")
            self._failed = kind
        else:
            self._failed = ""


async def repeat(
    name: str,
    work: Callable[[], Awaitable[None]],
    seconds: float,
    log: Log,
    *,
    first: float = 0.0,
) -> None:
    """Run `work` until cancelled, under a guard of this name, with `seconds` between two runs.

    The first run comes after `first` seconds.
    """
    guard = Guard(name, log)
    await asyncio.sleep(first)
    while True:
        with guard():
            await work()
        await asyncio.sleep(seconds)


@asynccontextmanager
async def alongside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` during a `with`; cancel it at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

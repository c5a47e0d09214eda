"""What a chore's failure may do: be told, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager

from shipper.logs import Log


class Guard:
    """Keeps a chore's failures from ending anything; each run of them is told once.

    A database that is away for weeks must not fill the disk with what fails without it.
    """

    def __init__(self, name: str, log: Log) -> None:
        self._name = name
        self._log = log
        self._failed = ""

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Log whatever fails within as a failure of that chore, unless it is what did before."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the drain goes on without it
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
    """Do `work` until cancelled, under a guard of this name, with so many seconds between.

    The first time comes after `first` seconds.
    """
    guard = Guard(name, log)
    await asyncio.sleep(first)
    while True:
        with guard():
            await work()
        await asyncio.sleep(seconds)


@asynccontextmanager
async def alongside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Have something done for the length of a `with`, at most."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

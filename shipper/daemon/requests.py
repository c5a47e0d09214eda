"""What the signals, and files that were replaced, ask of the service: to stop, or to read anew."""

import asyncio
from collections.abc import Coroutine
from math import inf
from typing import Any, Final, NamedTuple, TypeVar

from shipper.config import Settings
from shipper.system.waiting import is_set_within

# Seconds. A Ctrl-C comes from the terminal, and once more from what runs us (npm, uv, sudo).
_ECHO: Final = 0.5

T = TypeVar("T")


class Stop(asyncio.Event):
    """Set once somebody is to end cleanly; and then `now`, where they are to do so at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = asyncio.Event()
        self._asked_at = -inf

    def ask(self) -> None:
        """Ask for the end; whoever asks once more, and not with the same breath, wants it now."""
        at = asyncio.get_running_loop().time()
        if not self.is_set():
            self._asked_at = at
            self.set()
        elif at - self._asked_at >= _ECHO:
            self.now.set()


class ReloadRequest(NamedTuple):
    """What is to be read anew: the configuration, or else these files that it names."""

    reload: bool
    changed: list[str]


class Requests:
    """What is wished for, until somebody takes it up; a stop wins over everything."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        """What is in force."""
        self.timeout = _longest(settings)
        """How long a try may take that is under way, in seconds."""
        self.event = Stop()
        """Set once it is to stop for good."""
        self._session = asyncio.Event()
        self._asked = asyncio.Event()
        self._reload = False
        self._changed: list[str] = []

    def take(self, settings: Settings) -> None:
        """Have other settings in force; what began before them may still be under way."""
        self.settings = settings
        self.timeout = max(self.timeout, _longest(settings))

    def session(self) -> asyncio.Event:
        """Return what ends the session that begins now: a stop does, or whoever replaces it."""
        self._session = asyncio.Event()
        if self.event.is_set():
            self._session.set()
        return self._session

    def stop(self) -> None:
        """End the session, and the service with it; told so once more, at once."""
        self.event.ask()
        self._session.set()

    async def wait(self, seconds: float) -> bool:
        """Rest for so long, or until it is to stop for good; return whether it is."""
        return await is_set_within(self.event, seconds)

    def reload(self) -> None:
        """Have the configuration read anew; a stop that was asked for already wins."""
        if not self.event.is_set():
            self._reload = True
            self._asked.set()

    def reread(self, changed: list[str]) -> None:
        """Have these files read anew, which the configuration names."""
        if not self.event.is_set():
            self._changed += changed
            self._asked.set()

    async def next(self) -> ReloadRequest:
        """Wait for a request and take it up; one that comes from here on is another."""
        await self._asked.wait()
        self._asked.clear()
        request = ReloadRequest(self._reload, self._changed)
        self._reload, self._changed = False, []
        return request


async def unless_over(work: Coroutine[Any, Any, T], drain: "asyncio.Task[int]") -> T | None:
    """Return what `work` returns, or raise what it raises; None where the drain ends before it.

    It is cancelled then: nobody waits for it at a stop.
    """
    doing = asyncio.create_task(work)
    try:
        await asyncio.wait({doing, drain}, return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        doing.cancel()
        await asyncio.wait({doing})


def _longest(settings: Settings) -> float:
    return max(destination.timeout for destination in settings.destinations.values())

"""The requests that signals and replaced files make to the service: to stop, or to reload.

This module decides which request wins: a stop always does. It must never apply a request itself.
"""

import asyncio
from collections.abc import Coroutine
from math import inf
from typing import Any, Final, NamedTuple, TypeVar

from shipper.config import Settings
from shipper.system.waiting import is_set_within

# Seconds. One Ctrl-C can arrive twice: from the terminal and the parent process (npm, uv, sudo).
_ECHO: Final = 0.5

T = TypeVar("T")


class Stop(asyncio.Event):
    """Set once the daemon is asked to stop cleanly; then `now` is set if it must stop at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = asyncio.Event()
        self._asked_at = -inf

    def ask(self) -> None:
        """Ask for a clean stop; a second call, at least `_ECHO` later, asks to stop at once."""
        at = asyncio.get_running_loop().time()
        if not self.is_set():
            self._asked_at = at
            self.set()
        elif at - self._asked_at >= _ECHO:
            self.now.set()


class ReloadRequest(NamedTuple):
    """A request to reload: the configuration, or else only these files that it names."""

    reload: bool
    changed: list[str]


class Requests:
    """The open requests, until the service takes them up; a stop wins over all others."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        """The settings in force."""
        self.timeout = _longest(settings)
        """The longest time that a try in flight can take, in seconds."""
        self.event = Stop()
        """Set once the service is asked to stop for good."""
        self._session = asyncio.Event()
        self._asked = asyncio.Event()
        self._reload = False
        self._changed: list[str] = []

    def take(self, settings: Settings) -> None:
        """Put other settings in force; tries from before may still be in flight."""
        self.settings = settings
        self.timeout = max(self.timeout, _longest(settings))

    def session(self) -> asyncio.Event:
        """Return a new event for the session that begins now: set, it ends that session."""
        self._session = asyncio.Event()
        if self.event.is_set():
            self._session.set()
        return self._session

    def stop(self) -> None:
        """Stop the session and the service; a second call stops them at once."""
        self.event.ask()
        self._session.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for `seconds`, or until a stop; return whether the service is asked to stop."""
        return await is_set_within(self.event, seconds)

    def reload(self) -> None:
        """Ask to reload the configuration; does nothing after a stop."""
        if not self.event.is_set():
            self._reload = True
            self._asked.set()

    def reread(self, changed: list[str]) -> None:
        """Ask to reread these files, which the configuration names."""
        if not self.event.is_set():
            self._changed += changed
            self._asked.set()

    async def next(self) -> ReloadRequest:
        """Wait for a request and take it up; a request that arrives later is a new one."""
        await self._asked.wait()
        self._asked.clear()
        request = ReloadRequest(self._reload, self._changed)
        self._reload, self._changed = False, []
        return request


async def unless_over(work: Coroutine[Any, Any, T], drain: "asyncio.Task[int]") -> T | None:
    """Return what `work` returns, or raise what it raises; None if the drain ends first.

    `work` is cancelled then, because a stop must not wait for it.
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

"""The open connections to one origin: a stack of the idle ones, and one timer for all.

It decides how long a connection is used or stays idle. It must never return a connection that is
known to be closed, or close one because of its age while a request is under way.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from shipper.destination.connection import Answered, Connection
from shipper.destination.patience import PatientTimer
from shipper.destination.request import lifetimes

# Timers of uvloop have whole milliseconds: they can fire half a millisecond too early.
TICK: Final = 0.001


class Pool:
    """Connections, the last used on top. `keepalive` and `clock` (for ages) are in seconds.

    `answered` is called with each answer on a connection.
    """

    def __init__(
        self, answered: Answered, keepalive: float, clock: Callable[[], float] | None = None
    ) -> None:
        self._answered = answered
        self._keepalive = keepalive
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._lifetimes = lifetimes()
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._emptied = asyncio.Event()
        self._timer: PatientTimer | None = None
        self._expires = math.inf

    def connection(self) -> Connection:
        """Return a new connection; the caller connects it."""
        return Connection(self._answered, self._lost)

    def add(self, connection: Connection) -> None:
        """Add a connection that is connected."""
        connection.retires = self._clock() + next(self._lifetimes)
        self._open.add(connection)
        self._emptied.clear()

    def take(self) -> Connection | None:
        """Remove and return an idle connection; None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.retires > self._clock() and connection.is_quiet():
                return connection
            connection.fail(ConnectionAbortedError())
        return None

    def watch(self, connection: Connection, due: float) -> None:
        """Close a connection at `due`, in the loop's time, instead of an earlier time."""
        connection.due = due
        # A timer for each request would cost more than everything else in this module.
        if due < self._expires:
            self._set_timer(due)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close it if it can't be used again."""
        if connection.is_idle and connection.retires > self._clock():
            self._idle.append(connection)
            self.watch(connection, self._loop.time() + self._keepalive)
        else:
            connection.fail(ConnectionAbortedError())

    async def aclose(self) -> None:
        """Close all connections, and wait until they are closed."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._open):
            connection.fail(ConnectionAbortedError())
        if self._open:
            await self._emptied.wait()

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._open:
            self._emptied.set()

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._expires = when
        self._timer = PatientTimer(when, self._expire)

    def _expire(self) -> None:
        now = self._loop.time() + TICK
        for connection in tuple(self._open):
            if connection.due <= now:
                connection.fail(TimeoutError())
        self._timer, self._expires = None, math.inf
        following = min((connection.due for connection in self._open), default=math.inf)
        if following < math.inf:
            self._set_timer(following)

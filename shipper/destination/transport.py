"""Shipper's own HTTP/1.1 client: one kind of request, one origin, one callback per request.

It decides which request gets a connection, and when a new connection is made. It must never send a
request twice or too late, and never lose the place of a request that was cancelled.

A request that finds an idle connection costs no task: the connection calls back. Only connecting
is the work of a task.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial

import httpx

from shipper.destination.connection import Connection
from shipper.destination.dial import Dialler
from shipper.destination.pool import TICK, Pool
from shipper.destination.request import Answer, Request, failure_of


class FastTransport:
    """Sends requests to the origin of a URL. Create it in the running loop.

    There are at most `limit` connections; further requests wait, first come, first served.
    `timeout` is for a whole request and `keepalive` for an idle connection, both in seconds.
    `clock` (by default the loop's) measures the age of a connection and of a name lookup, and says
    when a request would be over too late.
    """

    def __init__(
        self,
        url: httpx.URL,
        *,
        limit: int,
        timeout: float,
        keepalive: float,
        tls: ssl.SSLContext,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._timeout = timeout
        self._now = asyncio.get_running_loop().time
        self._clock = clock or self._now
        self._pool = Pool(self._answered, keepalive, clock)
        self._dialler = Dialler(url, tls=tls, clock=clock)
        self._places = limit  # how many more requests can have a connection
        self._waiting: deque[Request] = deque()
        # For the request that has waited the longest.
        self._timer: asyncio.TimerHandle | None = None
        self._dials: dict[Request, asyncio.Task[None]] = {}
        self._closed = False

    def begin(self, request: Request, done: Callable[[Answer], None]) -> Request:
        """Send a request once; `done` gets its answer, NotHttpError or OSError, e.g. TimeoutError.

        See `Transport`.
        """
        request.begin(self, done)
        request.due = min(request.due, self._now() + self._timeout)
        if self._places and not self._waiting:
            self._go(request)
        else:
            request.stage = "turn"
            self._queue(request)
            self._watch_waiting()
        return request

    def drop(self, request: Request) -> None:
        """End a request that was cancelled, and free its place."""
        if request.connection is not None:
            request.connection.fail(ConnectionAbortedError())
        elif request in self._dials:
            self._dials[request].cancel()
        else:
            self._waiting.remove(request)

    async def aclose(self) -> None:
        """Close every connection, and end the requests that wait for one."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._end_waiting(len(self._waiting), ConnectionAbortedError)
        dials = list(self._dials.values())
        for dial in dials:
            dial.cancel()
        await self._pool.aclose()
        await self._dialler.aclose()
        await asyncio.gather(*dials, return_exceptions=True)

    def _go(self, request: Request) -> None:
        """Give a request a place, and send it."""
        self._places -= 1
        connection = None if self._is_late(request) else self._pool.take()
        if connection is None:
            dial = self._dials[request] = asyncio.create_task(self._dial(request))
            dial.add_done_callback(partial(self._dialled, request))
        else:
            self._ask(connection, request)

    def _ask(self, connection: Connection, request: Request) -> None:
        request.connection = connection
        request.begun = True
        self._pool.watch(connection, request.due)
        connection.ask(request)

    def _answered(self, connection: Connection, request: Request, answer: Answer) -> None:
        """Take the answer to a request; the next one may get the same connection."""
        self._pool.give_back(connection)
        self._free()
        request.settle(answer)

    def _free(self) -> None:
        self._places += 1
        if self._waiting:
            # Not at once: the end of a connection can follow its last answer.
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        while self._places and self._waiting:
            request = self._waiting.popleft()
            if self._is_over(request):
                request.settle(TimeoutError())
            else:
                self._go(request)

    def _is_over(self, request: Request) -> bool:
        return request.due <= self._now()

    def _is_late(self, request: Request) -> bool:
        """Return whether it is too late to send a request. The clock is read last, and afresh."""
        return request.is_late(self._now(), self._clock())

    async def _dial(self, request: Request) -> None:
        if self._closed:
            raise ConnectionAbortedError
        if self._is_late(request):
            raise TimeoutError
        async with asyncio.timeout_at(request.due):
            connection = self._pool.connection()
            await self._dialler.connect(connection, request)
        self._pool.add(connection)
        if self._is_late(request):  # the loop has stood still, or the machine has slept
            connection.fail(TimeoutError())
            raise TimeoutError
        self._ask(connection, request)

    def _dialled(self, request: Request, dial: asyncio.Task[None]) -> None:
        """Report a request that got no connection."""
        del self._dials[request]
        failure = failure_of(dial)
        if failure is not None:
            self._free()
            request.settle(failure)

    def _queue(self, request: Request) -> None:
        """Queue a request before those that have more time: the second one of a try has less."""
        place = len(self._waiting)
        while place and self._waiting[place - 1].due > request.due:
            place -= 1
        self._waiting.insert(place, request)
        if not place and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch_waiting(self) -> None:
        if self._timer is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._waiting[0].due + TICK, self._expire)

    def _expire(self) -> None:
        """End the requests whose time is over: the first ones."""
        self._timer = None
        self._end_waiting(sum(map(self._is_over, self._waiting)), TimeoutError)
        self._watch_waiting()

    def _end_waiting(self, number: int, error: type[Exception]) -> None:
        for _ in range(number):
            self._waiting.popleft().settle(error())

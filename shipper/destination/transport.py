"""Shipper's own HTTP/1.1 client: one kind of request, one origin, one future per request.

It decides which request gets a connection, and when a new connection is made. It must never send a
request twice.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

from shipper.destination.connection import Connection
from shipper.destination.dial import Dialler
from shipper.destination.pool import Pool
from shipper.destination.request import Request
from shipper.policy.outcome import Reply

_T = TypeVar("_T")


class FastTransport:
    """Sends requests to the origin of a URL. Create it in the running loop.

    There are at most `limit` connections; further requests wait, first come, first served.
    `timeout` is for a whole request and `keepalive` for an idle connection, both in seconds.
    `clock` (by default the loop's) measures the age of a connection and of a name lookup.
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
        self._pool = Pool(keepalive, clock)
        self._dialler = Dialler(url, tls=tls, timeout=timeout, clock=clock)
        self._turns = asyncio.Semaphore(limit)
        self._waits: set[asyncio.Timeout] = set()
        self._closed = False

    async def post(self, request: Request) -> Reply:
        """Send a request once; raises NotHttpError or OSError (TimeoutError is one)."""
        deadline = self._now() + self._timeout
        if self._turns.locked():
            request.stage = "turn"
            await self._within(deadline, self._turns.acquire())
        else:
            await self._turns.acquire()
        try:
            connection = self._pool.take()
            if connection is None:
                connection = await self._within(deadline, self._connect(request))
            self._pool.watch(connection, deadline)
            request.begun = True
            try:
                answer = await connection.ask(request.head(), request.body)
            finally:
                self._pool.give_back(connection)
        finally:
            self._turns.release()
        if isinstance(answer, Reply):
            return answer
        raise answer

    async def aclose(self) -> None:
        """Close every connection, and end the requests that wait for one."""
        self._closed = True
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(self._now())
        await self._pool.aclose()
        await self._dialler.aclose()

    async def _connect(self, request: Request) -> Connection:
        connection = self._pool.connection()
        await self._dialler.connect(connection, request)
        if self._closed:
            connection.fail(ConnectionAbortedError())
            raise ConnectionAbortedError
        self._pool.add(connection)
        return connection

    async def _within(self, deadline: float, work: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout_at(deadline) as wait:
                self._waits.add(wait)
                try:
                    return await work
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if self._closed:
                raise ConnectionAbortedError from None
            raise

"""The database's thread: the loop's thread passes work to it and awaits results.

On PostgreSQL everything that the drain asks and writes runs here. On SQLite a short turn runs in
the loop's thread while the database is quick (`step_runner`), but only while this thread is idle:
one of the two uses the connection at a time.

A turn that runs here switches threads twice, so the path is short: one queue, and one call into the
loop. The standard library's executor passes each piece of work through two kinds of futures, which
costs 10 to 40 µs more. The thread does one piece of work after the other, and must never drop a
piece that a caller still awaits.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from shipper.errors import DatabaseAbandoned, OutboxHeld, ShipperError, StoreUnavailable
from shipper.system.waiting import is_set_within

_TRY_EVERY = 0.5
# Seconds of waiting after which the database is asked less often, to spare its server.
_LONG = 30.0
_TRY_EVERY_LONG = 5.0

T = TypeVar("T")


class _Order(NamedTuple):
    """A piece of work, and the future that a caller awaits."""

    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    asker: asyncio.Future[Any]
    has_begun: bool
    """Whether its transaction is open already: it is done even if its caller was cancelled."""


class DatabaseThread:
    """A thread that exists from its construction until `close`."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._closed = False
        self._given = 0
        self._done = 0
        self.patient = True
        """Whether a cancelled caller still counts on the thread to finish its work."""
        self._abandoned: StoreUnavailable | None = None
        self._askers: set[asyncio.Future[Any]] = set()
        # `close` waits for the last writes; only an abandoned thread ends with the process.
        self._thread = Thread(target=self._serve, name="database", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether the thread has nothing to do, so that the loop's thread can use the database.

        Only the loop gives work, so this stays true until the loop awaits something.
        """
        return self._given == self._done and not self._abandoned and not self._closed

    async def run(self, work: Callable[[], T], *, has_begun: bool = False) -> T:
        """Run `work` in the thread; return what it returns, or raise what it raises.

        Work that `has_begun` in the loop's thread is done even if the caller is cancelled.

        Raises RuntimeError once the thread is closed. A caller that is cancelled while the thread
        isn't `patient` abandons it: from then on the thread still does the queued work if it can,
        but every call raises StoreUnavailable at once. After `abandon`, every call raises its
        error.
        """
        if self._closed:
            raise RuntimeError("the database's thread has ended")
        loop = asyncio.get_running_loop()
        asker: asyncio.Future[T] = loop.create_future()
        self._given += 1
        self._orders.put(_Order(work, loop, asker, has_begun))
        if self._abandoned:
            asker.add_done_callback(_retrieve_exception)
            raise self._abandoned
        self._askers.add(asker)
        try:
            return await asker
        except asyncio.CancelledError:
            if not self.patient:
                self._abandoned = StoreUnavailable(
                    "the database does not answer", "check its server"
                )
            raise
        finally:
            self._askers.discard(asker)

    def abandon(self, error: DatabaseAbandoned) -> None:
        """Abandon the thread: all present and later callers get this error at once.

        Work that has begun may still end; work that hasn't begun is dropped.
        """
        self._abandoned = error
        for asker in self._askers:
            if not asker.done():
                asker.set_exception(error)

    async def insist(
        self,
        work: Callable[[], T],
        patience: Mapping[type[ShipperError], float],
        stop: asyncio.Event,
        on_wait: Callable[[ShipperError, float], None] = lambda *_: None,
    ) -> T:
        """Run `work` again while it raises one of these errors, each kind for its own seconds.

        `on_wait` is called with each such error, and its seconds.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                return await self.run(work)
            except tuple(patience) as failure:
                # The error's own kind or a base class: DiskFull is a StoreUnavailable, too.
                seconds = next(patience[kind] for kind in patience if isinstance(failure, kind))
                if stop.is_set() or loop.time() - began >= seconds:
                    raise
                on_wait(failure, seconds)
                # Another daemon's silence counts only while it is looked at (`lease.stillness`).
                is_rare = loop.time() - began > _LONG and not isinstance(failure, OutboxHeld)
            await is_set_within(stop, _TRY_EVERY_LONG if is_rare else _TRY_EVERY)

    def close(self) -> None:
        """Finish the queued work, then end; blocks until that is done, unless it is abandoned."""
        self._closed = True
        self._orders.put(None)
        if not self._abandoned:
            self._thread.join()

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            if order.has_begun or not order.asker.done():  # otherwise its caller was cancelled
                self._serve_one(order)
            else:
                self._done += 1
            del order  # frees its payloads before the next piece of work arrives

    def _serve_one(self, order: _Order) -> None:
        # Every exception belongs to the caller: only `close` may end this thread.
        answer: Callable[[Any], None] = order.asker.set_result
        try:
            result = order.work()
        except BaseException as error:  # noqa: BLE001
            answer, result = order.asker.set_exception, error
        self._done += 1  # before the answer: the loop's thread may use the connection at once
        self._answer(order, answer, result)

    @staticmethod
    def _answer(order: _Order, answer: Callable[[Any], None], value: object) -> None:
        def deliver() -> None:
            if not order.asker.done():
                answer(value)

        with suppress(RuntimeError):  # the loop is closed: no caller waits any more
            order.loop.call_soon_threadsafe(deliver)


def _retrieve_exception(asker: "asyncio.Future[Any]") -> None:
    asker.exception()  # otherwise the loop logs that the exception was never retrieved

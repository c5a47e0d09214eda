"""The one thread that talks to the database: the event loop hands work over and awaits the answer.

A drain with one lane changes threads twice for each event, so this is the short way: a queue, and
one call into the loop. The standard library's executor passes each piece of work through two kinds
of futures, and costs 10 to 40 µs more. Work is done one piece after the other, and never dropped
while somebody awaits it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from shipper.errors import GivenUp, ShipperError, StoreUnavailable
from shipper.system.waiting import is_set_within

_TRY_EVERY = 0.5
# Who waits for so long is no quicker noticed than a server that is asked all day long likes.
_LONG = 30.0
_TRY_EVERY_LONG = 5.0

T = TypeVar("T")


class _Order(NamedTuple):
    """A piece of work, and who waits for it."""

    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    asker: asyncio.Future[Any]


class DatabaseThread:
    """A thread of its own, from when it is made until `close`."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._closed = False
        self.patient = True
        """Whether what it has begun is waited for, whoever is cancelled."""
        self._abandoned: StoreUnavailable | None = None
        self._askers: set[asyncio.Future[Any]] = set()
        # `close` waits for what it writes; only one that is abandoned ends with the process.
        self._thread = Thread(target=self._serve, name="database", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` there and return what it returns, or raise what it raises.

        Raises RuntimeError once it is closed, because nobody would do it. Who is cancelled while
        it isn't `patient` abandons it: what is asked for after that is done if it ever can be, and
        StoreUnavailable is raised at once; after `give_up`, what that was told.
        """
        if self._closed:
            raise RuntimeError("the database's thread has ended")
        loop = asyncio.get_running_loop()
        asker: asyncio.Future[T] = loop.create_future()
        self._orders.put(_Order(work, loop, asker))
        if self._abandoned:
            asker.add_done_callback(_nobody_asks)
            raise self._abandoned
        self._askers.add(asker)
        try:
            return await asker
        except asyncio.CancelledError:
            if not self.patient:
                self._abandoned = StoreUnavailable(
                    "the database does not answer", "look at its server"
                )
            raise
        finally:
            self._askers.discard(asker)

    def give_up(self, error: GivenUp) -> None:
        """Abandon it: whoever waits for it, or asks from here on, is told this error at once.

        What has begun may still end; what hasn't is not begun.
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
        told: Callable[[ShipperError, float], None] = lambda *_: None,
    ) -> T:
        """Run `work` until it raises none of these errors, for so many seconds at most.

        `told` is told of each of them that is waited for.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                return await self.run(work)
            except tuple(patience) as failure:
                # By the kind it is of: a full disk is a database that is out of reach, too.
                seconds = next(patience[kind] for kind in patience if isinstance(failure, kind))
                if stop.is_set() or loop.time() - began >= seconds:
                    raise
                told(failure, seconds)
            is_long = loop.time() - began > _LONG
            await is_set_within(stop, _TRY_EVERY_LONG if is_long else _TRY_EVERY)

    def close(self) -> None:
        """Do what was asked for before, then end; blocks until it has, unless it is abandoned."""
        self._closed = True
        self._orders.put(None)
        if not self._abandoned:
            self._thread.join()

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            if not order.asker.done():  # who asked for it has gone
                self._serve_one(order)
            del order  # its payloads are not to wait here for the next one

    def _serve_one(self, order: _Order) -> None:
        # Whatever is raised is the asker's: nothing may end this thread but `close`.
        try:
            result = order.work()
        except BaseException as error:  # noqa: BLE001
            self._answer(order, order.asker.set_exception, error)
        else:
            self._answer(order, order.asker.set_result, result)

    @staticmethod
    def _answer(order: _Order, answer: Callable[[Any], None], value: object) -> None:
        def tell() -> None:
            if not order.asker.done():
                answer(value)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            order.loop.call_soon_threadsafe(tell)


def _nobody_asks(asker: "asyncio.Future[Any]") -> None:
    asker.exception()  # else the loop tells that nobody has looked at it

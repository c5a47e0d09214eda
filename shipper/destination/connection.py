"""One connection: a request goes out, its answer comes in, and only then the next may follow.

It decides when a connection is of no more use. It must never take a message that came unasked for
an answer, never go on after an answer that came before its request was out, and never raise: what
goes wrong is the answer.
"""

import asyncio
import math
import select
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from shipper.destination.parser import AnswerParser
from shipper.destination.request import NotHttpError
from shipper.policy.outcome import Reply

# A body up to this size goes out in one write with its head; a larger one as fast as it is taken.
_PIECE: Final = 64 * 1024

Answer: TypeAlias = Reply | Exception


class Connection(asyncio.Protocol):
    """A connection for one request at a time; `lost` is called when it has ended.

    `due` is the loop's time at which it is to be expired, `retires` the pool's time after which it
    gets no other request; both belong to the pool.
    """

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        self.due = self.retires = math.inf
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._answers = AnswerParser()
        self._asker: asyncio.Future[Answer] | None = None
        self._unsent = memoryview(b"")
        self._paused = False

    @property
    def is_open(self) -> bool:
        """Whether it is connected, as far as anybody here knows."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for nothing, and is open."""
        return self._asker is None and self.is_open

    def is_quiet(self) -> bool:
        """Ask the kernel whether it is open and nothing has come on it.

        The loop reads what has come only after all that is ready to run now, and that may include
        whoever is about to use it: an end or a message there would be taken for an answer.
        """
        return self.is_open and not self._poll.poll(0)

    def ask(self, head: bytes, body: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future is its answer, or what went wrong instead."""
        asker = self._asker = self._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            self.fail(ConnectionAbortedError())
        elif len(body) <= _PIECE:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._unsent = memoryview(body)
            self._pour()
        return asker

    def fail(self, error: Exception) -> None:
        """Close at once; whoever waits gets the error for an answer."""
        self._answer(error, reusable=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hear from asyncio that it is connected, the TLS handshake included."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket"), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Hear what the receiver says."""
        if self._asker is None:
            self.fail(NotHttpError())
            return
        try:
            reply = self._answers.feed(data)
        except NotHttpError as error:
            self.fail(error)
            return
        if reply is not None:
            # A request that is still on its way would run into the next one.
            self._answer(reply, reusable=self._answers.reusable and not self._unsent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear that it has ended, which may be the end of an answer."""
        self._transport = None
        reply = self._answers.end() if exc is None and self._asker is not None else None
        self._answer(reply or exc or ConnectionAbortedError(), reusable=False)
        self._lost(self)

    def pause_writing(self) -> None:
        """Hear that the receiver takes no more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """Hear that it does again."""
        self._paused = False
        self._pour()

    def _pour(self) -> None:
        while self._unsent and not self._paused and self.is_open:
            assert self._transport is not None
            self._transport.write(self._unsent[:_PIECE])
            self._unsent = self._unsent[_PIECE:]

    def _answer(self, answer: Answer, *, reusable: bool) -> None:
        asker, self._asker = self._asker, None
        if not reusable:
            self.due = math.inf
            self._unsent = memoryview(b"")
            if self._transport is not None:
                self._transport.abort()
        # Whoever asked may have been cancelled in the meantime.
        if asker is not None and not asker.done():
            asker.set_result(answer)

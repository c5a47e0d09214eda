"""One connection: it sends a request, receives the answer, and only then sends the next.

It decides when a connection can't be used again. It must never take a message for an answer if no
request waits for one, and never send another request if an answer came before its request was sent.
It must never raise because of the receiver: an error is passed on as the answer.
"""

import asyncio
import math
import select
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from shipper.destination.parser import AnswerParser
from shipper.destination.request import Answer, NotHttpError, Request

# A body up to this size is written together with its head. A larger one is written in pieces.
_PIECE: Final = 64 * 1024
_NOTHING: Final = memoryview(b"")

Answered: TypeAlias = Callable[["Connection", Request, Answer], None]


class Connection(asyncio.Protocol):
    """A connection for one request at a time; `lost` is called when it has ended.

    `answered` is called with each answer, when the connection is ready for its next request or is
    closing. The pool sets `due`, the loop's time at which it closes the connection, and `retires`,
    the pool's time after which the connection gets no more requests.
    """

    __slots__ = (
        "_answered",
        "_answers",
        "_lost",
        "_paused",
        "_poll",
        "_request",
        "_transport",
        "_unsent",
        "due",
        "retires",
    )

    def __init__(self, answered: Answered, lost: Callable[["Connection"], None]) -> None:
        self.due = self.retires = math.inf
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._answers = AnswerParser()
        self._request: Request | None = None
        self._unsent = _NOTHING
        self._paused = False

    @property
    def is_open(self) -> bool:
        """Whether it is connected, as far as the loop knows."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether it is open and has no request."""
        return self._request is None and self.is_open

    def is_quiet(self) -> bool:
        """Return whether it is open and the kernel has nothing to read on it.

        The loop reads a socket only after the callbacks that are ready now. One of them may be
        about to use this connection: it would take an unread message for its answer.
        """
        return self.is_open and not self._poll.poll(0)

    def ask(self, request: Request) -> None:
        """Send a request; if the connection has ended, the request gets that as its answer."""
        self._request, body = request, request.body
        if self._transport is None or self._transport.is_closing():
            self.fail(ConnectionAbortedError())
        elif len(body) <= _PIECE:
            self._transport.write(request.head() + body)
        else:
            self._transport.write(request.head())
            self._unsent = memoryview(body)
            self._write_more()

    def fail(self, error: Exception) -> None:
        """Close at once; a waiting request gets the error as its answer."""
        self._answer(error, reusable=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport: asyncio has completed the connection and its TLS handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket"), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the receiver from asyncio."""
        if self._request is None:
            self.fail(NotHttpError())
            return
        try:
            reply = self._answers.feed(data)
        except NotHttpError as error:
            self.fail(error)
            return
        if reply is not None:
            # If the request isn't sent completely, its rest would run into the next one.
            self._answer(reply, reusable=self._answers.reusable and not self._unsent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection from asyncio; it can be the end of an answer."""
        self._transport = None
        reply = self._answers.end() if exc is None and self._request is not None else None
        self._answer(reply or exc or ConnectionAbortedError(), reusable=False)
        self._lost(self)

    def pause_writing(self) -> None:
        """Stop writing: the receiver takes no more bytes for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on writing: the receiver takes bytes again."""
        self._paused = False
        self._write_more()

    def _write_more(self) -> None:
        while self._unsent and not self._paused and self.is_open:
            assert self._transport is not None
            self._transport.write(self._unsent[:_PIECE])
            self._unsent = self._unsent[_PIECE:]

    def _answer(self, answer: Answer, *, reusable: bool) -> None:
        request, self._request = self._request, None
        if not reusable:
            self.due = math.inf
            self._unsent = _NOTHING
            if self._transport is not None:
                self._transport.abort()
        if request is not None:
            self._answered(self, request, answer)

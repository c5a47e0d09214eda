"""The benchmarks' endpoint: answer each event after a delay; optionally refuse some, write a log.

    python -m benchmarks.receiver DELAY_SECONDS FAIL_EVERY LOG_FILE    (0: never; "": no log)

It prints its URL and answers until SIGTERM. The log has one line per exchange, in the order of the
answers: shopper, place in the shopper's sequence, the time when the whole request was read, the
time when the answer left (CLOCK_MONOTONIC, ns), status. It keeps nothing else of a request.

With FAIL_EVERY 20, the first try of every twentieth event of a shopper gets 503: always the same
events, and never many in a row.
"""

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TextIO, cast

import httptools

from benchmarks.loops import run
from benchmarks.workload import SEQUENCE, SHOPPER

ANSWERS = {
    202: b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
    503: b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
}
_BACKLOG = 2048
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class Later:
    """Calls back after a delay, to some 50 microseconds. Belongs to the running loop.

    The timers of event loops have whole milliseconds: 5 ms would be up to 6.
    """

    def __init__(self, delay: float) -> None:
        self._delay = round(delay * 1e9)
        self._calls: deque[tuple[int, Callable[[], None]]] = deque()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._timer, self._ring)

    def call(self, answer: Callable[[], None]) -> None:
        """Call `answer` after the delay."""
        self._calls.append((time.monotonic_ns() + self._delay, answer))
        if len(self._calls) == 1:
            self._set()

    def _set(self) -> None:
        """Ring when the first call is due: the delay is the same for all, so they come in order."""
        seconds, rest = divmod(self._calls[0][0], 1_000_000_000)
        when = (ctypes.c_long * 4)(0, 0, seconds, rest)  # struct itimerspec: interval, value
        if self._libc.timerfd_settime(self._timer, _ABSOLUTE, ctypes.byref(when), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _ring(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._timer, 8)
        while self._calls and self._calls[0][0] <= time.monotonic_ns():
            self._calls.popleft()[1]()
        if self._calls:
            self._set()


class Rules:
    """What the receiver answers, when, and what it logs."""

    def __init__(self, delay: float, fail_every: int, log: TextIO | None) -> None:
        self.later = Later(delay) if delay else None
        self._fail_every = fail_every
        self._log = log
        self._failed: set[tuple[int, int]] = set()
        self.looks_inside = bool(fail_every) or log is not None

    def status(self, shopper: int, sequence: int) -> int:
        """Return the answer to an event that has arrived."""
        event = (shopper, sequence)
        if not self._fail_every or (shopper + sequence) % self._fail_every or event in self._failed:
            return 202
        self._failed.add(event)
        return 503

    def note(self, shopper: int, sequence: int, arrived: int, status: int) -> None:
        """Log that the answer leaves now."""
        if self._log is not None:
            self._log.write(f"{shopper} {sequence} {arrived} {time.monotonic_ns()} {status}\n")


class Exchange(asyncio.Protocol):
    """One connection. Its requests come one after the other."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, too

    def connection_lost(self, exc: Exception | None) -> None:
        """End; requests without an answer get none."""
        del exc
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self._body = b""

    def on_body(self, body: bytes) -> None:
        """Collect."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer, at once or later."""
        arrived, shopper, sequence, status = 0, 0, 0, 202
        if self._rules.looks_inside:
            arrived = time.monotonic_ns()
            shopper, sequence = int(self._body[SHOPPER]), int(self._body[SEQUENCE])
            status = self._rules.status(shopper, sequence)
        answer = partial(self._answer, shopper, sequence, arrived, status)
        if self._rules.later is not None:
            self._rules.later.call(answer)
        else:
            answer()

    def _answer(self, shopper: int, sequence: int, arrived: int, status: int) -> None:
        if self._transport is not None:
            self._rules.note(shopper, sequence, arrived, status)
            self._transport.write(ANSWERS[status])


async def serve(delay: float, fail_every: int, log: TextIO | None) -> None:
    """Answer until SIGTERM."""
    loop, rules = asyncio.get_running_loop(), Rules(delay, fail_every, log)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Exchange(rules), "127.0.0.1", 0, backlog=_BACKLOG)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/v3/events", flush=True)
    await stop.wait()
    server.close()


def main(delay: str, fail_every: str, log: str) -> None:
    if not log:
        run(serve(float(delay), int(fail_every), None))
        return
    with Path(log).open("w", encoding="ascii") as file:
        run(serve(float(delay), int(fail_every), file))


if __name__ == "__main__":
    main(*sys.argv[1:])

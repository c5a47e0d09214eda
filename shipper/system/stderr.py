"""A stderr that never makes its writer wait: a stuck log reader must not stop the delivery.

This module decides which lines are dropped if stderr isn't read: the latest 1 MiB is kept, older
lines are dropped and counted, and a line with their number takes their place. A thread writes the
lines, because switching the file description to non-blocking would affect every process that
shares it, the shell among them. The stream must never block a caller, never split a line, and never
keep the process from ending.
"""

import os
import select
import sys
from collections import deque
from collections.abc import Callable
from io import TextIOBase
from pathlib import Path
from threading import Condition, Thread
from typing import TextIO, cast

_KEPT = 1 << 20
# Bytes: the usual capacity of a pipe (pipe(7)).
_BATCH = 1 << 16
# Seconds for the last lines of a process to be written.
_AT_THE_END = 1.0


class Unblocked(TextIOBase):
    """A text stream over another stream's file descriptor; its methods return at once."""

    def __init__(self, stream: TextIO, *, kept: int = _KEPT) -> None:
        self.stream = stream
        """The stream whose descriptor it writes to."""
        self.dropped = 0
        """The number of lines that were dropped so far."""
        self.words_for: Callable[[int], str] = "shipper: {} lines were dropped".format
        """Returns the line that takes the place of a number of dropped lines, without its end."""
        self._fd = stream.fileno()
        self._encoding = stream.encoding or "utf-8"
        self._kept = kept
        # Reentrant: a destructor can print at any moment, also while this thread holds the lock.
        self._changed = Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._busy = False
        self._begun = ""
        self._uncounted = 0
        self._torn = False
        self._thread: Thread | None = None

    # -- for writers --------------------------------------------------------------------------

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return how text becomes bytes."""
        return self._encoding

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.stream.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take a text; an unfinished line waits for its end, or for `flush`."""
        with self._changed:
            whole, end, self._begun = (self._begun + text).rpartition("\n")
            if end or len(self._begun) > _BATCH:
                self._put(whole + end)
        return len(text)

    def flush(self) -> None:
        """Queue an unfinished line; don't wait until anything is written."""
        with self._changed:
            begun, self._begun = self._begun, ""
            if begun:
                self._put(begun)

    def flush_within(self, seconds: float) -> bool:
        """Wait at most `seconds` until everything is written; return whether it is."""
        self.flush()
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), seconds)

    def _put(self, text: str) -> None:
        lines = text.encode(self._encoding, "backslashreplace")
        self._waiting.append(lines)
        self._size += len(lines)
        while self._size > self._kept and len(self._waiting) > 1:
            self._drop(self._next())
        if self._thread is None:
            # A daemon thread: it may never return from its last write.
            self._thread = Thread(target=self._serve, name="stderr", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _next(self) -> bytes:
        lines = self._waiting.popleft()
        self._size -= len(lines)
        return lines

    def _drop(self, lines: bytes) -> None:
        count = max(1, lines.count(b"\n"))
        self.dropped += count
        self._uncounted += count

    # -- the thread ---------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                self._busy = True
                uncounted, self._uncounted = self._uncounted, 0
                lines = self._batch()
            notice = f"{self.words_for(uncounted)}\n" if uncounted else ""
            unwritten = self._write_out(notice.encode(self._encoding, "backslashreplace"))
            left = self._write_out(lines)
            with self._changed:
                self._uncounted += uncounted if unwritten else 0
                if left:
                    self._drop(left)

    def _batch(self) -> bytes:
        batch = bytearray(self._next())
        while self._waiting and len(batch) + len(self._waiting[0]) <= _BATCH:
            batch += self._next()
        return bytes(batch)

    def _write_out(self, lines: bytes) -> bytes:
        """Write bytes, however long that takes; return those that could not be written."""
        data = b"\n" + lines if self._torn and lines else lines
        done = 0
        while done < len(data):
            try:
                done += os.write(self._fd, data[done:])
            except BlockingIOError:
                self._wait()  # another process has switched the descriptor to non-blocking
            except OSError:  # a full disk, a closed pipe: a later line may succeed
                break
        left = data[done:]
        if done:
            self._torn = bool(left) and data[done - 1] != ord("\n")
        return left if done else lines

    def _wait(self) -> None:
        writable = select.poll()
        writable.register(self._fd, select.POLLOUT)
        writable.poll()


def unblock_stderr() -> None:
    """Make stderr non-blocking for this process: no write to it makes the writer wait."""
    try:
        sys.stderr.fileno()
    except (OSError, ValueError):
        return  # a stream without a file has no reader that could be stuck
    sys.stderr = cast("TextIO", Unblocked(sys.stderr))


def flush_stderr() -> None:
    """Undo `unblock_stderr` at the end: wait for the last lines, for at most 1 s."""
    stream: object = sys.stderr
    if not isinstance(stream, Unblocked):
        return
    if stream.flush_within(_AT_THE_END):
        sys.stderr = stream.stream
    else:
        # Otherwise Python would flush this stream at its end, and block for ever.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good

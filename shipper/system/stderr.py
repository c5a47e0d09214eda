"""A stderr that never makes its writer wait: a stuck log driver must not stop the shipping.

It decides what becomes of lines that nobody reads: 1 MiB of the latest are kept, older ones are
dropped and counted, and the count is said where the lines would have stood. A thread of its own
writes, because a file description that is switched to not blocking is so for everybody who shares
it, the shell among them. It must never block a caller, never tear a line by another, and never
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
# As much as a pipe holds, as a rule (pipe(7)).
_BATCH = 1 << 16
# What the last lines of a process may take to be read.
_AT_THE_END = 1.0


class Unblocked(TextIOBase):
    """A text stream over another one's file descriptor; its methods return at once."""

    def __init__(self, stream: TextIO, *, kept: int = _KEPT) -> None:
        self.stream = stream
        """Whose descriptor it writes to."""
        self.dropped = 0
        """How many lines were dropped so far."""
        self.words_for: Callable[[int], str] = "shipper: {} lines were dropped".format
        """Words the line, without its end, that stands where so many are missing."""
        self._fd = stream.fileno()
        self._encoding = stream.encoding or "utf-8"
        self._kept = kept
        # One that its holder may take again: a destructor may print at any moment.
        self._changed = Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._busy = False
        self._begun = ""
        self._untold = 0
        self._torn = False
        self._thread: Thread | None = None

    # -- for who writes -----------------------------------------------------------------------

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return how text becomes bytes."""
        return self._encoding

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether a person watches."""
        return self.stream.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take a text; what comes before the end of a line waits for that, or for `flush`."""
        with self._changed:
            whole, end, self._begun = (self._begun + text).rpartition("\n")
            if end or len(self._begun) > _BATCH:
                self._put(whole + end)
        return len(text)

    def flush(self) -> None:
        """Let go of a line that has no end yet; doesn't wait until anything is written."""
        with self._changed:
            begun, self._begun = self._begun, ""
            if begun:
                self._put(begun)

    def flush_within(self, seconds: float) -> bool:
        """Wait until everything is written, for so long at most; return whether it is."""
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
            # One that ends with the process: it may never come back from its last write.
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
        self._untold += count

    # -- the thread ---------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                self._busy = True
                untold, self._untold = self._untold, 0
                lines = self._batch()
            said = f"{self.words_for(untold)}\n" if untold else ""
            unsaid = self._write_out(said.encode(self._encoding, "backslashreplace"))
            left = self._write_out(lines)
            with self._changed:
                self._untold += untold if unsaid else 0
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
                self._wait()  # somebody else has switched it to not blocking
            except OSError:  # a full disk, a closed pipe: the next line may find it better
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
    """From now on nothing that this process says on stderr makes it wait."""
    try:
        sys.stderr.fileno()
    except (OSError, ValueError):
        return  # no file, so nobody who could fail to read it
    sys.stderr = cast("TextIO", Unblocked(sys.stderr))


def flush_stderr() -> None:
    """Undo `unblock_stderr` at the end, once the last lines are written or for 1 s nobody reads."""
    stream: object = sys.stderr
    if not isinstance(stream, Unblocked):
        return
    if stream.flush_within(_AT_THE_END):
        sys.stderr = stream.stream
    else:
        # What Python may have to say at its very end would wait for ever.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good

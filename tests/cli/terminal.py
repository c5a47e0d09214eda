"""A terminal in which a command draws, of a size that a test chooses."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.cli.command_line import DEADLINE, Home

CONTROL = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])")
# A picture a second; more than this, and what is looked for never comes.
_LOOKS = 60
_LEAVES = b"\x1b[?1049l"


class Drawn:
    """What a command drew until it was ended, and its exit status."""

    def __init__(self, raw: bytes, status: int) -> None:
        self.raw = raw
        self.status = status
        self.text = CONTROL.sub(b"", raw).decode()

    @property
    def gives_the_terminal_back(self) -> bool:
        """Return whether the picture is gone at the end."""
        return _LEAVES in self.raw

    @property
    def has_colours(self) -> bool:
        """Return whether anything is coloured."""
        return re.search(rb"\x1b\[(\d+;)*3[0-9]", self.raw) is not None


def draw(
    home: Home,
    *arguments: str,
    seen: str,
    columns: int = 120,
    ends: signal.Signals = signal.SIGINT,
    **environ: str,
) -> Drawn:
    """Run a command in a terminal until it has drawn a text, then end it by a signal."""
    with _terminal(home, arguments, columns, 40, environ) as (process, leader):
        raw = b""
        for _ in range(_LOOKS):
            if seen in CONTROL.sub(b"", raw).decode("utf-8", "ignore"):
                break
            raw += _more(leader)
        assert seen in CONTROL.sub(b"", raw).decode("utf-8", "ignore"), raw
        process.send_signal(ends)
        while _LEAVES not in raw and (more := _more(leader)):
            raw += more
        status = process.wait(DEADLINE)
    return Drawn(raw, status)


def shown(home: Home, *arguments: str, columns: int = 80, **environ: str) -> Drawn:
    """Run a command in a terminal to its end."""
    given = {"LC_ALL": "C.UTF-8", **environ}
    with _terminal(home, arguments, columns, 24, given) as (process, leader):
        raw = b""
        while more := _more(leader):
            raw += more
        status = process.wait(DEADLINE)
    return Drawn(raw.replace(b"\r\n", b"\n"), status)


@contextmanager
def _terminal(
    home: Home, arguments: Sequence[str], columns: int, rows: int, environ: Mapping[str, str]
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Give a process in a terminal, and the terminal's other end; both are gone at the end."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    given = {**home.environ, "TERM": "xterm-256color", **environ}
    for name in ("COLUMNS", "LINES", *({"NO_COLOR"} - environ.keys())):
        given.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-m", "shipper", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=home.directory,
        env=given,
    ) as process:
        os.close(follower)
        try:
            yield process, leader
        finally:
            process.kill()
            os.close(leader)


def _more(descriptor: int) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], DEADLINE)
    assert ready, "nothing more was drawn"
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the process has ended
        return b""


class Terminal:
    """A person at a terminal, who answers when asked."""

    def __init__(self, home: Home, *arguments: str) -> None:
        self._leader, follower = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "shipper", *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=home.directory,
            env=home.environ,
            start_new_session=True,
        )
        os.close(follower)

    def answer(self, *dialogue: tuple[str, str], status: int = 0) -> str:
        """Wait for each question, give its answer, and return all that was shown."""
        shown = ""
        for question, reply in dialogue:
            begin = len(shown)
            while question not in shown[begin:] or not shown.endswith(("] ", ") ")):
                shown += os.read(self._leader, 4096).decode()
            os.write(self._leader, f"{reply}\n".encode())
        for chunk in self._rest():
            shown += chunk
        assert self._process.wait(DEADLINE) == status, shown
        os.close(self._leader)
        return shown

    def _rest(self) -> Iterator[str]:
        try:
            while chunk := os.read(self._leader, 4096):
                yield chunk.decode()
        except OSError:  # Linux: EIO once the other end is closed
            return

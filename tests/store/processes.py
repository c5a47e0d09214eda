"""Other processes, which say when they have done something, and do something when they are told."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Process:
    """Another process, which says a line whenever it has done something, and waits for one."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    @property
    def is_running(self) -> bool:
        """Return whether it hasn't ended yet."""
        return self._process.poll() is None

    def said(self) -> str:
        """Return the next line that it says."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, word: str) -> None:
        """Say a line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ends(self) -> None:
        """Close its input, and wait until it has ended by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait() == 0
        self._process.stdin = None

    def dies(self) -> None:
        """Kill it and wait until it is dead, but leave it to be reaped."""
        self._process.kill()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def close(self) -> None:
        """Leave nothing of it."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def process(program: str, *arguments: str) -> Iterator[Process]:
    """Give a process that runs a program in Python, and leave nothing of it."""
    started = Process(program, *arguments)
    try:
        yield started
    finally:
        started.close()

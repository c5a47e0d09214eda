"""Processes of a test: started, watched, and waited for with a deadline."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

# What a loaded machine may need for anything that is awaited here.
PATIENCE = 30.0
_POLL = 0.02

T = TypeVar("T")


async def until(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Wait until a condition holds and return what it found.

    This and the next are the only places that look again and again: another process, or a machine,
    has no way to tell us.
    """
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(_POLL)
        return found


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> bool:
    """Wait until a condition holds that can't be asked for at once; return whether it does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(_POLL)
            return True
    return False


class Process:
    """A process whose output is kept in files."""

    def __init__(
        self,
        directory: Path,
        name: str,
        *arguments: str,
        stdin: str | None = None,
        stderr: int | None = None,
        under: Sequence[str] = (),
        **changes: str,
    ) -> None:
        """Start Python, `under` another program that becomes it; `stderr` may be a descriptor.

        `changes` are to its environment.
        """
        self._files = [directory / f"{name}.{stream}" for stream in ("in", "out", "err")]
        self._files[0].write_text(stdin or "", "utf-8")
        environ = {k: v for k, v in os.environ.items() if not k.startswith("SHIPPER_")}
        environ |= changes
        with (
            self._files[0].open("rb") as input_,
            self._files[1].open("wb") as output,
            self._files[2].open("wb") as errors,
        ):
            self._process = subprocess.Popen(
                [*under, sys.executable, *arguments],
                stdin=subprocess.PIPE if stdin is None else input_,
                stdout=output,
                stderr=errors if stderr is None else stderr,
                cwd=directory,
                env=environ,
            )

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def stdout(self) -> str:
        """Return what it has printed so far."""
        return self._files[1].read_text("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Return what it has logged so far."""
        return self._files[2].read_text("utf-8", "replace")

    @property
    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._process.poll() is None

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and return the exit status."""
        await until(lambda: not self.is_alive, seconds)
        return self._process.wait()

    def close_stdin(self) -> None:
        """Let it know that nothing more comes."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, and take its remains away."""
        if self.is_alive:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


class Daemon(Process):
    """`shipper run`, and what it logs."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Return the log lines that are complete."""
        complete = self.stderr.rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete if line.startswith("{")]

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the lines of that name and with these fields."""
        return [
            line for line in self.lines if line["event"] == event and fields.items() <= line.items()
        ]

    async def told(self, event: str, seconds: float = PATIENCE, **fields: object) -> dict[str, Any]:
        """Wait for such a line and return the first; fails at once if the process ends without."""
        await until(lambda: self.said(event, **fields) or not self.is_alive, seconds)
        found = self.said(event, **fields)
        assert found, f"it ended without {event}: {self.stderr[-2000:]}"
        return found[0]

    async def stop(self) -> None:
        """Stop it cleanly; fails where it doesn't."""
        self.signal(signal.SIGTERM)
        assert await self.ended() == 0, self.stderr[-2000:]

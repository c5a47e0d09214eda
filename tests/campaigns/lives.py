"""The lives of a daemon: started anew (or forked off one that is warm), signalled, seen to its end.

A warm start spares half a second of importing a life, so that a test run has time for more of them;
the daemon is the same. A cold start is a new process.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.daemon.processes import PATIENCE, Daemon

ROOT = Path(__file__).parents[2]


class Life(Daemon):
    """One `shipper run`, or another command, that a launcher has forked."""

    def __init__(self, pid: int, output: Path, errors: Path) -> None:
        self._pid = pid
        self._files = [output, output, errors]
        self._status: int | None = None
        self._over = asyncio.Event()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._pid

    @property
    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._status is None

    @property
    def status(self) -> int | None:
        """Return its exit status; None while it runs."""
        return self._status

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and return the exit status."""
        async with asyncio.timeout(seconds):
            await self._over.wait()
        assert self._status is not None
        return self._status

    async def lives_for(self, seconds: float) -> None:
        """Wait for so long, or until it ends."""
        with contextlib.suppress(TimeoutError):
            await self.ended(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        # It may have ended without our having heard of it.
        with contextlib.suppress(ProcessLookupError):
            if self.is_alive:
                os.kill(self._pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)

    def close_stdin(self) -> None:
        """Do nothing: its stdin is empty."""

    def note_end(self, status: int) -> None:
        """Take in that it has ended."""
        self._status = status
        self._over.set()


class Launcher:
    """Starts commands of shipper in a directory; to be used with `async with`."""

    def __init__(
        self, directory: Path, *, warm: bool = True, environ: Mapping[str, str] | None = None
    ) -> None:
        self._directory = directory
        self._warm = warm
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("SHIPPER_")}
        self._environ |= {"PYTHONPATH": str(ROOT), **(environ or {})}
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._lives: dict[int, Life] = {}
        self._ended: dict[int, int] = {}
        self._began: asyncio.Queue[int] = asyncio.Queue()
        self._turn = asyncio.Lock()
        # Another launcher may have been here: what its lives have printed isn't ours.
        self._number = len(list(directory.glob("life-*.out")))

    async def __aenter__(self) -> "Launcher":
        """Start what forks, if anything does."""
        if self._warm:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.campaigns.launcher"),
                stdin=PIPE,
                stdout=PIPE,
                env=self._environ,
                cwd=self._directory,
            )
            assert self._process.stdout is not None
            assert await self._process.stdout.readline() == b"ready\n"
            self._reader = asyncio.create_task(self._read(self._process.stdout))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every life that is left."""
        for life in list(self._lives.values()):
            life.kill()
            await life.ended()
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()
        if self._reader is not None:
            await self._reader

    def texts(self) -> Iterator[str]:
        """Yield what each life has printed."""
        for file in sorted(self._directory.glob("life-*")):
            yield file.read_text("utf-8", "replace")

    async def start(self, *arguments: str, shim: str = "", **circumstances: object) -> Life:
        """Start a command; `shim` is what to tell the preloaded library, if there is one.

        `circumstances` are for a daemon that is forked: see `launcher`.
        """
        self._number += 1
        output = self._directory / f"life-{self._number:05}.out"
        errors = output.with_suffix(".err")
        output.touch()
        errors.touch()
        if self._process is None:
            return await self._cold(arguments, output, errors)
        order: dict[str, object] = {
            "arguments": arguments,
            "output": str(output),
            "errors": str(errors),
            "shim": shim,
        }
        order |= circumstances
        assert self._process.stdin is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            pid = await self._began.get()
        life = Life(pid, output, errors)
        if pid in self._ended:
            life.note_end(self._ended.pop(pid))
        else:
            self._lives[pid] = life
        return life

    async def _cold(self, arguments: tuple[str, ...], output: Path, errors: Path) -> Life:
        with output.open("wb") as out, errors.open("wb") as err:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "shipper", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self._environ,
                cwd=self._directory,
            )
        life = Life(process.pid, output, errors)
        self._lives[process.pid] = life
        watcher = asyncio.create_task(self._watch(process, life))
        watcher.add_done_callback(lambda _: self._lives.pop(process.pid))
        return life

    async def _watch(self, process: Process, life: Life) -> None:
        life.note_end(await process.wait())

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        async for line in stdout:
            word, pid, *rest = line.decode().split()
            if word == "began":
                self._began.put_nowait(int(pid))
            elif int(pid) in self._lives:
                self._lives.pop(int(pid)).note_end(int(rest[0]))
            else:
                self._ended[int(pid)] = int(rest[0])

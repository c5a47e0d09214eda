"""Read CPU time and memory of processes from the kernel; start and end the benchmarks' own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]


class LeftOut(Exception):
    """Why something isn't measured here. It is no failure: this machine lacks a program."""


_TICKS = os.sysconf("SC_CLK_TCK")
_END_WITHIN = 30.0


def _stat(pid: int) -> list[str]:
    """Return the fields of proc(5) stat from the third on; the name can hold any character."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used."""
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / _TICKS


def cpu_seconds_of_family(parent: int) -> float:
    """Return the CPU time of a process, its children, and those of them that have ended."""
    seconds = sum(map(int, _stat(parent)[11:15])) / _TICKS
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            if _stat(int(path.name))[1] == str(parent):
                seconds += cpu_seconds(int(path.name))
        except OSError:
            continue  # it has ended meanwhile
    return seconds


def parent_of(pid: int) -> int:
    """Return the parent of a process."""
    return int(_stat(pid)[1])


def memory(pid: int, field: str = "VmHWM") -> float:
    """Return a field of proc(5) status in MB: VmHWM is the highest RSS, VmRSS the present one."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise ProcessLookupError(f"no {field} of process {pid}")
    return int(found[1]) / 1024


# The variable with the database's URL: not an argument, because every user can read a command line.
DATABASE = "BENCHMARK_DATABASE"


# With it, Python would compile our code anew in each process; an installed package is compiled.
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def environment(
    database: str = "", more: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return the environment for a process: this code, and no settings of the user, but `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SHIPPER_") and name != _NO_BYTECODE
    }
    return {**kept, "PYTHONPATH": str(ROOT), DATABASE: database, **more}


def module(name: str, *arguments: str) -> list[str]:
    """Return the command for a module of this package."""
    return [sys.executable, "-m", f"benchmarks.{name}", *arguments]


def end(process: subprocess.Popen[str]) -> None:
    """End a process with SIGTERM, or with SIGKILL if it doesn't end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process whose stdout can be read, yield it, and end it."""
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        end(process)


def first_line(process: subprocess.Popen[str]) -> str:
    """Wait for the first line that it prints; raises RuntimeError if it ends without one."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with {process.wait()} and said nothing")
    return line

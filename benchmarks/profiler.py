"""Where the daemon spends its time: py-spy samples it while it ships.

For developers who want to make it faster: sampling makes the daemon a little slower.
"""

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.daemon import Daemon

_RATE = 400
_SHOWN = 30
_END_WITHIN = 60.0


def find() -> str | None:
    """Return the program py-spy, beside this Python or on the path; None if there is none."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


@contextmanager
def profiling(program: str, process: Daemon, output: Path) -> Iterator[None]:
    """Sample all threads of a daemon; `output` gets the stacks, one per line (`--format raw`)."""
    command = [
        program, "record", "--pid", str(process.pid), "--format", "raw", "--threads",
        "--rate", str(_RATE), "--output", str(output),
    ]  # fmt: skip
    sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield
    finally:
        if sampler.poll() is None:
            sampler.send_signal(signal.SIGINT)
        _, errors = sampler.communicate(timeout=_END_WITHIN)
    if not output.exists():
        raise RuntimeError(f"py-spy has seen nothing: {errors.decode()[-500:]}")


def summary(output: Path) -> str:
    """Return the functions that took the most time: themselves, and with all that they called."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    for line in output.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = [_without_line(frame) for frame in stack.split(";")]
        threads[frames[0]] += int(samples)
        own[frames[-1]] += int(samples)
        whole.update(dict.fromkeys(frames[1:], int(samples)))
    total = sum(threads.values()) or 1
    parts = [("threads", threads), ("by themselves", own), ("with what they call", whole)]
    return "\n\n".join(f"{title}\n{_top(counter, total)}" for title, counter in parts)


def _without_line(frame: str) -> str:
    return re.sub(r":\d+\)$", ")", frame)


def _top(counter: Counter[str], total: int) -> str:
    return "\n".join(
        f"{100 * samples / total:6.1f} %  {name}" for name, samples in counter.most_common(_SHOWN)
    )

"""The real daemon: `shipper run -c config` in a process and a directory of its own."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from benchmarks.processes import cpu_seconds, end, environment, memory

_START_WITHIN = 60.0
_LOG_SHOWN = 2000


class Daemon:
    """The process, and what was measured when it logged its start."""

    def __init__(self, directory: Path, config: Path, more: Mapping[str, str]) -> None:
        self._log = directory / "daemon.log"
        self._said = threading.Event()
        self._launched = time.monotonic()
        self.started_at = 0.0
        self._cpu_at_start = 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "shipper", "run", "-c", str(config)],
            cwd=directory,
            env=environment(more=more),
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._process.poll() is None

    @property
    def startup_seconds(self) -> float:
        """Return the time from the start of the process until it logged `daemon.started`."""
        return self.started_at - self._launched

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._log.open("w") as log:
            for line in self._process.stderr:
                if not self.started_at and '"daemon.started"' in line:
                    self._cpu_at_start = cpu_seconds(self.pid)
                    self.started_at = time.monotonic()
                    self._said.set()
                log.write(line)
                log.flush()
        self._said.set()

    def wait_until_started(self) -> None:
        """Wait until it ships; raises RuntimeError if it ends before, or takes too long."""
        self._said.wait(_START_WITHIN)
        if not self.started_at:
            raise RuntimeError(f"the daemon did not start: {self.log_tail()}")

    def cpu_seconds(self) -> float:
        """Return the CPU time that all its threads have used since it started."""
        return cpu_seconds(self.pid) - self._cpu_at_start

    def peak_memory(self) -> float:
        """Return the highest RSS that it has had, in MB."""
        return memory(self.pid)

    def memory(self) -> float:
        """Return its RSS now, in MB."""
        return memory(self.pid, "VmRSS")

    def log_tail(self) -> str:
        """Return the end of its log."""
        return self._log.read_text()[-_LOG_SHOWN:] if self._log.exists() else ""

    def close(self) -> None:
        """Stop the daemon cleanly."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(_START_WITHIN)
        self._reader.join(_START_WITHIN)
        end(self._process)


@contextmanager
def daemon(
    directory: Path,
    database: str,
    url: str,
    *,
    max_in_flight: int,
    retry: str = "",
    more: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Daemon]:
    """Start a daemon with these settings and otherwise the defaults, yield it, and stop it.

    `more` is added to its environment.
    """
    directory.mkdir()
    config = directory / "shipper.toml"
    config.write_text(
        f"[database]\nurl = {json.dumps(database)}\n"
        f"[destinations.default]\nurl = {json.dumps(url)}\n"
        f'api_id = "benchmark"\nmax_in_flight = {max_in_flight}\n'
        f'{retry}\n[log]\nformat = "json"\n'
    )
    config.chmod(0o600)
    process = Daemon(directory, config, more)
    try:
        process.wait_until_started()
        yield process
    finally:
        process.close()

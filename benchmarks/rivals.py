"""Runs the peers: installs them, gives each a database of its own and the same work.

Rates are from the start of the worker to its empty queue; one worker process each, with settings
that are sensible and not tuned. They make different promises: read the table with that in mind.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import make_url

from benchmarks.databases import PostgresDatabases
from benchmarks.processes import ROOT, environment
from benchmarks.servers import Endpoint, endpoint
from benchmarks.workload import Workload

PACKAGES = ("pgqueuer", "procrastinate", "asyncpg", "psycopg[binary,pool]", "aiohttp", "uvloop")
ORDER = {
    "pgqueuer": "none within a key, so this is less work",
    "procrastinate": "kept by a lock for each key",
}
_WORKLOAD = Workload(5_000, 1_000)
_IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class Rivaled:
    """A peer's result: rates in events a second, CPU in seconds for all events, memory in MB."""

    peer: str
    version: str
    events: int
    rates: list[float]
    cpu: float
    database_cpu: float | None
    memory: float


def measure(
    databases: PostgresDatabases,
    directory: Path,
    runs: int,
    events: int | None,
    say: Callable[[str], None],
) -> list[Rivaled]:
    """Run every peer `runs` times; raises CalledProcessError if one can't be installed."""
    python = directory / "venv" / "bin" / "python"
    say(f"peers: installing {', '.join(ORDER)}")
    subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
    workload = Workload(events or _WORKLOAD.events, _WORKLOAD.keys)
    with endpoint(Endpoint(), directory) as target:
        rival = _Rival(databases, python, target, workload, say)
        return [rival.measure(peer, runs) for peer in ORDER]


class _Rival:
    """What all peers have in common: the database server, the endpoint, the work."""

    def __init__(
        self,
        databases: PostgresDatabases,
        python: Path,
        target: str,
        workload: Workload,
        say: Callable[[str], None],
    ) -> None:
        self._databases = databases
        self._python = str(python)
        self._target = target
        self._workload = workload
        self._say = say

    def measure(self, peer: str, runs: int) -> Rivaled:
        """Return the medians of so many runs."""
        program = f"from importlib.metadata import version; print(version({peer!r}))"
        version = self._run("-c", program).strip()
        results = [self._once(peer) for _ in range(runs)]
        used = [result["database_cpu"] for result in results if "database_cpu" in result]
        return Rivaled(
            peer=peer,
            version=version,
            events=self._workload.events,
            rates=sorted(result["events"] / result["seconds"] for result in results),
            cpu=median(result["cpu"] for result in results),
            database_cpu=median(used) if used else None,
            memory=median(result["memory"] for result in results),
        )

    def _once(self, peer: str) -> dict[str, float]:
        url = self._databases.outbox()  # with our tables in it, which don't hurt
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        given = [self._target, str(_IN_FLIGHT), *self._workload.arguments()]
        program = f"benchmarks.peers.{peer}_peer"
        try:
            self._run("-m", program, "fill", *given, database=dsn)
            self._databases.tidy(url)
            before = self._databases.cpu_seconds()
            result: dict[str, float] = json.loads(
                self._run("-m", program, "work", *given, database=dsn)
            )
            after = self._databases.cpu_seconds()
        finally:
            self._databases.drop(url)
        if result["events"] != self._workload.events:
            raise RuntimeError(f"{peer} delivered {result['events']} of {self._workload.events}")
        if before is not None and after is not None:
            result["database_cpu"] = after - before
        self._say(f"peers: {peer} {result['events'] / result['seconds']:,.0f}/s")
        return result

    def _run(self, *arguments: str, database: str = "") -> str:
        done = subprocess.run(
            [self._python, *arguments],
            cwd=ROOT,
            env=environment(database),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

"""Runs the peers: installs them, gives each a database of its own and the same work.

Rates are from the start of the worker to its empty queue; one worker process each. The two of Node
are set up as their manuals recommend for this work, the two of Python with sensible settings. They
make different promises: read the table with that in mind. In each round shipper ships the same just
before, as in (b), so that a ratio is of the same minutes.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sqlalchemy import make_url

from benchmarks.databases import PostgresDatabases
from benchmarks.drains import Measure, Run
from benchmarks.processes import ROOT, LeftOut, environment
from benchmarks.scenarios import PEERS_DO
from benchmarks.servers import endpoint

GRAPHILE, PG_BOSS = "graphile-worker", "pg-boss"
_PYTHON = ("pgqueuer", "procrastinate")
_NODE = (GRAPHILE, PG_BOSS)
NAMES = (*_NODE, *_PYTHON)
ORDER = {
    GRAPHILE: "kept by a queue for each key",
    PG_BOSS: "kept by `key_strict_fifo`",
    "pgqueuer": "none within a key, so this is less work",
    "procrastinate": "kept by a lock for each key",
}
_PYTHON_PACKAGES = (*_PYTHON, "asyncpg", "psycopg[binary,pool]", "aiohttp", "uvloop")
_NODE_PACKAGES = (f"{GRAPHILE}@0.18", f"{PG_BOSS}@12.38", "undici@7")
_PROGRAMS = ROOT / "benchmarks" / "peers"


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
    ours: list[float]
    """The rates of shipper, one before each of the peer's."""

    @property
    def ratio(self) -> float:
        """Return shipper's rate as a multiple of the peer's: the median of the rounds."""
        return median(our / its for our, its in zip(self.ours, self.rates, strict=True))


class _Installed(NamedTuple):
    """A peer that can run: its command without arguments, its directory, and its version."""

    command: tuple[str, ...]
    directory: Path
    version: str


class Race:
    """The peers on one server, with one workload; `left_out` says which can't be installed."""

    def __init__(
        self,
        databases: PostgresDatabases,
        directory: Path,
        events: int | None,
        say: Callable[[str], None],
    ) -> None:
        workload = replace(PEERS_DO.workload, events=events or PEERS_DO.workload.events)
        self._scenario = replace(PEERS_DO, workload=workload)
        self._databases = databases
        self._directory = directory
        self._say = say
        self.left_out: list[str] = []

    def run(self, names: Sequence[str], runs: int) -> Iterator[Rivaled]:
        """Run each of these peers `runs` times, with shipper before each round."""
        installed = dict(self._installed(names))
        if not installed:
            return
        events = self._directory / "events"
        events.write_text("".join(self._lines()), "utf-8")
        results: dict[str, list[dict[str, float]]] = {name: [] for name in installed}
        ours: list[float] = []
        measure = Measure(self._fresh("shipper"), self._say)
        with self._databases.filled(self._scenario.workload) as template:
            for _ in range(runs):
                run: Run = measure.shipped(self._scenario, self._databases, template)
                ours.append(run.rate)
                self._say(f"peers: shipper {run.rate:,.0f}/s")
                for name, peer in installed.items():
                    results[name].append(self._once(name, peer, events))
        for name, peer in installed.items():
            yield self._summed(name, peer.version, results[name], ours)

    def _lines(self) -> Iterator[str]:
        workload = self._scenario.workload
        for number in range(workload.events):
            yield f"{workload.event(number)[0]} {workload.payload(number)}\n"

    def _installed(self, names: Sequence[str]) -> Iterator[tuple[str, _Installed]]:
        for kind, install in ((_NODE, self._with_npm), (_PYTHON, self._with_pip)):
            wanted = [name for name in kind if name in names]
            if not wanted:
                continue
            self._say(f"peers: installing {', '.join(wanted)}")
            try:
                yield from install(wanted)
            except (LeftOut, subprocess.CalledProcessError) as why:
                self.left_out.append(f"{', '.join(wanted)}: {why}")

    def _with_npm(self, names: Sequence[str]) -> Iterator[tuple[str, _Installed]]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise LeftOut("there is no Node with npm")
        directory = self._fresh("node")
        (directory / "package.json").write_text('{"private": true}')
        command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", *_NODE_PACKAGES]
        subprocess.run(command, cwd=directory, stdout=subprocess.DEVNULL, check=True)
        for program in _PROGRAMS.glob("*.mjs"):
            shutil.copy(program, directory)
        for name in names:
            package = directory / "node_modules" / name / "package.json"
            version = json.loads(package.read_text("utf-8"))["version"]
            yield name, _Installed((node, f"{_program(name)}.mjs"), directory, version)

    def _with_pip(self, names: Sequence[str]) -> Iterator[tuple[str, _Installed]]:
        directory = self._directory / "venv"
        python = str(directory / "bin" / "python")
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *_PYTHON_PACKAGES], check=True)
        for name in names:
            ask = f"from importlib.metadata import version; print(version({name!r}))"
            done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
            command = (python, "-m", f"benchmarks.peers.{_program(name)}")
            yield name, _Installed(command, ROOT, done.stdout.strip())

    def _once(self, name: str, peer: _Installed, events: Path) -> dict[str, float]:
        url = self._databases.outbox()  # with our tables in it, which don't hurt
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        work = self._scenario.workload
        with endpoint(self._scenario.endpoint, self._fresh("endpoint")) as target:
            arguments = [target, str(self._scenario.in_flight)]
            arguments += [str(events)] if name in _NODE else work.arguments()
            try:
                _run(peer, "fill", arguments, dsn)
                self._databases.tidy(url)
                before = self._databases.cpu_seconds()
                result: dict[str, float] = json.loads(_run(peer, "work", arguments, dsn))
                after = self._databases.cpu_seconds()
            finally:
                self._databases.drop(url)
        if result["events"] != work.events:
            raise RuntimeError(f"{name} delivered {result['events']} of {work.events}")
        if before is not None and after is not None:
            result["database_cpu"] = after - before
        self._say(f"peers: {name} {result['events'] / result['seconds']:,.0f}/s")
        return result

    def _summed(
        self, name: str, version: str, results: list[dict[str, float]], ours: list[float]
    ) -> Rivaled:
        used = [result["database_cpu"] for result in results if "database_cpu" in result]
        return Rivaled(
            peer=name,
            version=version,
            events=self._scenario.workload.events,
            rates=[result["events"] / result["seconds"] for result in results],
            cpu=median(result["cpu"] for result in results),
            database_cpu=median(used) if used else None,
            memory=median(result["memory"] for result in results),
            ours=ours,
        )

    def _fresh(self, name: str) -> Path:
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        return directory


def _program(name: str) -> str:
    return f"{name.replace('-', '_')}_peer"


def _run(peer: _Installed, what: str, arguments: Sequence[str], database: str) -> str:
    done = subprocess.run(
        [*peer.command, what, *arguments],
        cwd=peer.directory,
        env=environment(database),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout

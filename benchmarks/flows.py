"""Measures how soon an event is delivered, while applications write and the daemon ships.

The time runs from the return of the application's COMMIT until the receiver has read the whole
request, by the machine's one monotonic clock.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.against import Outcome
from benchmarks.daemon import Daemon, daemon
from benchmarks.databases import Databases
from benchmarks.disks import slowed
from benchmarks.drains import until_ended
from benchmarks.judge import Exchange, Verdict, judge, read, together
from benchmarks.medians import medians
from benchmarks.processes import ROOT, environment, module
from benchmarks.scenarios import Flow
from benchmarks.servers import Endpoint, endpoint

_IN_FLIGHT = 64


class Commits(NamedTuple):
    """When each event was committed (ns), and how many seconds all commits took."""

    at: dict[tuple[int, int], int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Flowed:
    """Figures of a run, or the medians of some: latency in ms, CPU in seconds, memory in MB."""

    scenario: Flow
    database: str
    events: int
    commit_rate: float
    p50: float
    p99: float
    worst: float
    cpu: float
    database_cpu: float | None
    peak_memory: float
    verdict: Verdict
    runs: int = 1
    others: tuple[Outcome, ...] = ()
    """The runs of another version of shipper, each just after one of ours."""


def measure(
    scenario: Flow, databases: Databases, directory: Path, say: Callable[[str], None]
) -> Flowed:
    """Write and ship at the same time, once; raises RuntimeError if not all is delivered."""
    log, more = directory / "receiver.log", slowed(scenario.slow_sync, directory)
    url = databases.outbox()
    try:
        with (
            endpoint(Endpoint(), directory, log) as target,
            daemon(
                directory / "daemon", url, target, max_in_flight=_IN_FLIGHT, more=more
            ) as process,
        ):
            before = databases.cpu_seconds()
            commits = _write(scenario, url, directory, more)
            until_ended(process, url, len(commits.at))
            after = databases.cpu_seconds()
            used = None if before is None or after is None else after - before
            cpu, peak = _used(process)
        exchanges = list(read(log))
        waits = latencies(exchanges, commits.at)
        flowed = Flowed(
            scenario=scenario,
            database=databases.name,
            events=len(commits.at),
            commit_rate=len(commits.at) / commits.seconds,
            p50=percentile(waits, 50),
            p99=percentile(waits, 99),
            worst=waits[-1],
            cpu=cpu,
            database_cpu=used,
            peak_memory=peak,
            verdict=judge(exchanges, len(commits.at)),
        )
    finally:
        databases.drop(url)
    say(
        f"{scenario.name}: {flowed.commit_rate:,.0f} commits/s to {databases.name}, delivered after"
        f" {flowed.p50:.1f} ms (p50), {flowed.p99:.1f} ms (p99); the order was {flowed.verdict}"
    )
    return flowed


def middle(runs: Sequence[Flowed], others: Sequence[Outcome]) -> Flowed:
    """Return the medians of several runs, with the longest wait and what all the logs show."""
    names = ("commit_rate", "p50", "p99", "cpu", "database_cpu", "peak_memory")
    return replace(
        runs[0],
        **medians(runs, *names),
        worst=max(run.worst for run in runs),
        verdict=together(run.verdict for run in runs),
        runs=len(runs),
        others=tuple(others),
    )


def _used(process: Daemon) -> tuple[float, float]:
    return process.cpu_seconds(), process.peak_memory()


def _write(scenario: Flow, url: str, directory: Path, more: Mapping[str, str]) -> Commits:
    logs = [directory / f"writer-{writer}.log" for writer in range(scenario.writers)]
    rate = scenario.rate / scenario.writers
    began = time.monotonic()
    writers = [
        subprocess.Popen(
            module(
                "writer", str(writer), str(scenario.writers), str(rate),
                str(scenario.seconds), str(scenario.keys), str(log),
            ),
            cwd=ROOT,
            env=environment(url, more),
        )
        for writer, log in enumerate(logs)
    ]  # fmt: skip
    if any(writer.wait() for writer in writers):
        raise RuntimeError("a writer failed; it said why on stderr")
    seconds = time.monotonic() - began
    at: dict[tuple[int, int], int] = {}
    for log in logs:
        for line in log.read_text(encoding="ascii").splitlines():
            shopper, sequence, committed = map(int, line.split())
            at[shopper, sequence] = committed
    # Without the start of the processes: from the first commit to the last.
    if len(at) > 1:
        seconds = (max(at.values()) - min(at.values())) / 1e9
    return Commits(at, seconds)


def latencies(exchanges: list[Exchange], committed: dict[tuple[int, int], int]) -> list[float]:
    """Return each event's time in ms, sorted; 0 if it arrived before COMMIT returned."""
    first: dict[tuple[int, int], int] = {}
    for exchange in exchanges:
        event = (exchange.shopper, exchange.sequence)
        first[event] = min(exchange.arrived, first.get(event, exchange.arrived))
    return sorted(max(0, first[event] - at) / 1e6 for event, at in committed.items())


def percentile(ordered: list[float], percent: int) -> float:
    """Return a percentile of values that are sorted."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

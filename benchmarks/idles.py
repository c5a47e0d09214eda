"""Measures what the daemon costs while there is nothing to ship, above a long history."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.daemon import daemon
from benchmarks.databases import Databases
from benchmarks.medians import medians
from benchmarks.scenarios import Idle
from benchmarks.servers import Endpoint, endpoint
from benchmarks.workload import Workload

_KEYS = 1_000
# Until the costs of the start are over.
_SETTLE = 5.0


@dataclass(frozen=True, slots=True)
class Idled:
    """What the daemon used: CPU in percent of one core, memory in MB, disk in bytes."""

    scenario: Idle
    database: str
    cpu: float
    database_cpu: float | None
    memory: float
    memory_growth: float
    disk_growth: float
    runs: int = 1


def measure(
    scenario: Idle, databases: Databases, directory: Path, runs: int, say: Callable[[str], None]
) -> Idled:
    """Let a daemon idle, `runs` times on one outbox; return the medians."""
    say(f"{scenario.name}: filling {databases.name} with {scenario.events:,} delivered events")
    with databases.filled(Workload(scenario.events, _KEYS), delivered=True) as url:
        idled = [_idle(scenario, databases, url, directory / str(run), say) for run in range(runs)]
    names = ("cpu", "database_cpu", "memory", "memory_growth", "disk_growth")
    return replace(idled[0], **medians(idled, *names), runs=runs)


def _idle(
    scenario: Idle, databases: Databases, url: str, directory: Path, say: Callable[[str], None]
) -> Idled:
    directory.mkdir()
    with (
        endpoint(Endpoint(), directory) as target,
        daemon(directory / "daemon", url, target, max_in_flight=64) as process,
    ):
        time.sleep(_SETTLE)
        memory, size = process.memory(), databases.size(url)
        cpu, database_cpu = process.cpu_seconds(), databases.cpu_seconds()
        began = time.monotonic()
        time.sleep(scenario.seconds)
        percent = 100 / (time.monotonic() - began)
        cpu, after = process.cpu_seconds() - cpu, databases.cpu_seconds()
        both = None if database_cpu is None or after is None else after - database_cpu
        idled = Idled(
            scenario=scenario,
            database=databases.name,
            cpu=cpu * percent,
            database_cpu=None if both is None else both * percent,
            memory=process.memory(),
            memory_growth=process.memory() - memory,
            disk_growth=databases.size(url) - size,
        )
    of_database = "" if both is None else f", {databases.name} {idled.database_cpu:.2f} %"
    say(f"{scenario.name}: daemon {idled.cpu:.2f} % of a core{of_database}")
    return idled

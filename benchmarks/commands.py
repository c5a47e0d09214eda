"""Measures how long an operator waits for a command, with a long history and a backlog."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.databases import Databases
from benchmarks.processes import environment
from benchmarks.scenarios import Commands
from benchmarks.workload import Workload

_KEYS = 1_000
COMMANDS = ("status", "status --nagios", "events list", "events list --status pending",
            "dead list", "doctor --no-network")  # fmt: skip
# The exit statuses that are right here: no daemon ships, which is a negative finding.
_STATUSES = frozenset({0, 1, 2})


@dataclass(frozen=True, slots=True)
class Commanded:
    """By command, the milliseconds from the start of its process to its end, in each run."""

    scenario: Commands
    database: str
    milliseconds: dict[str, list[float]]


def measure(
    scenario: Commands, databases: Databases, directory: Path, runs: int, say: Callable[[str], None]
) -> Commanded:
    """Run each command `runs` times, after one run that isn't counted."""
    history = scenario.events - scenario.pending
    say(
        f"{scenario.name}: filling {databases.name} with {history:,} delivered events"
        f" and {scenario.pending:,} pending ones"
    )
    with databases.filled(Workload(history, _KEYS), delivered=True) as url:
        databases.fill(url, Workload(scenario.pending, _KEYS))
        config = _config(directory, url)
        took = {command: _times(command, config, runs) for command in COMMANDS}
    commanded = Commanded(scenario, databases.name, took)
    for command, times in took.items():
        say(f"{scenario.name}: {databases.name} {command}: {median(times):.0f} ms")
    return commanded


def _config(directory: Path, url: str) -> Path:
    config = directory / "shipper.toml"
    config.write_text(
        f"[database]\nurl = {json.dumps(url)}\n"
        '[destinations.default]\nurl = "http://127.0.0.1:9/"\napi_id = "benchmark"\n'
    )
    config.chmod(0o600)
    return config


def _times(command: str, config: Path, runs: int) -> list[float]:
    words = [sys.executable, "-m", "shipper", *command.split(), "-c", str(config)]
    times: list[float] = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        done = subprocess.run(
            words, cwd=config.parent, env=environment(), capture_output=True, check=False
        )
        times.append((time.perf_counter() - began) * 1e3)
        if done.returncode not in _STATUSES:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr.decode()}")
    return times[1:]

"""Runs insert_cost.py on a fresh outbox, in a process without shipper's code."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from benchmarks.databases import Databases
from benchmarks.processes import ROOT, environment, module
from benchmarks.scenarios import Insert

Microseconds: TypeAlias = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Inserted:
    """Microseconds for one INSERT, by its kind and by how it is committed."""

    scenario: Insert
    database: str
    microseconds: Microseconds
    runs: int = 1


def measure(
    scenario: Insert, databases: Databases, runs: int, say: Callable[[str], None]
) -> Inserted:
    """Measure `runs` times, each on an outbox of its own; return the medians."""
    took = [_once(scenario, databases, say) for _ in range(runs)]
    middle = {
        kind: {how: median(each[kind][how] for each in took) for how in ways}
        for kind, ways in took[0].items()
    }
    return Inserted(scenario, databases.name, middle, runs)


def _once(scenario: Insert, databases: Databases, say: Callable[[str], None]) -> Microseconds:
    url = databases.outbox()
    try:
        done = subprocess.run(
            module("insert_cost", str(scenario.events)),
            cwd=ROOT,
            env=environment(url),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        databases.drop(url)
    took: Microseconds = json.loads(done.stdout)
    say(f"{scenario.name}: {databases.name} {took} µs")
    return took

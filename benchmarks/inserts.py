"""Runs insert_cost.py on a fresh outbox, in a process without shipper's code."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.databases import Databases
from benchmarks.processes import ROOT, environment, module
from benchmarks.scenarios import Insert


@dataclass(frozen=True, slots=True)
class Inserted:
    """Microseconds for one INSERT, by its kind and by how it is committed."""

    scenario: Insert
    database: str
    microseconds: dict[str, dict[str, float]]


def measure(scenario: Insert, databases: Databases, say: Callable[[str], None]) -> Inserted:
    """Measure once: the process itself repeats the measurement."""
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
    inserted = Inserted(scenario, databases.name, json.loads(done.stdout))
    say(f"{scenario.name}: {databases.name} {inserted.microseconds} µs")
    return inserted

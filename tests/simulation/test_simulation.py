"""The simulation as every run of the tests does it: many seeds, those that once failed, and again.

`SHIPPER_TEST_SEEDS` says how many; `python -m tests.simulation` runs any number from any seed.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.__main__ import told
from tests.simulation.scenario import PARTIAL
from tests.simulation.world import run, run_quietly

SEEDS = int(os.environ.get("SHIPPER_TEST_SEEDS", "150"))
PARTIAL_SEEDS = 8
_CHUNK = 100
_CHUNKS = [range(first, min(first + _CHUNK, SEEDS)) for first in range(0, SEEDS, _CHUNK)]
_LINES = Path(__file__).with_name("seeds.txt").read_text("utf-8").splitlines()
FAILED_ONCE = [int(line.split()[0]) for line in _LINES if line and not line.startswith("#")]

# Everything that a hundred seeds are to have met, or they prove less than they say.
TROUBLES = frozenset({
    "clock jump", "kill", "kill while starting", "operator", "second daemon", "stop", "suspend",
    "takeover", "window", "reload", "lock file", "write between two statements", "database: disk full",
    "database: disk full after the commit", "database: I/O error",
    "database: I/O error after the commit", "database: fsync failed",
    "database: fsync failed after the commit", "database: no table", "database: read-only",
})  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", _CHUNKS, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_no_seed_violates_an_invariant(seeds: range) -> None:
    """Whatever applications, network, API, database, clock and operators do in it."""
    results = [run_quietly(seed) for seed in seeds]
    violating = [result for result in results if result.violations]
    assert not violating, "\n\n".join(map(told, violating))
    met = sum((result.counts for result in results), Counter[str]())
    assert len(seeds) < _CHUNK or met.keys() >= TROUBLES, TROUBLES.difference(met)


@pytest.mark.parametrize(
    "seeds", [range(PARTIAL + n, PARTIAL + n + 4) for n in range(0, PARTIAL_SEEDS, 4)], ids=str
)
def test_a_partial_outage_costs_nothing(seeds: range) -> None:
    """A shard that is down for some keys, or a firewall that refuses a few, beside all others."""
    violating = [result for result in map(run_quietly, seeds) if result.violations]
    assert not violating, "\n\n".join(map(told, violating))


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_a_seed_that_failed_once_does_no_more(seed: int) -> None:
    """Each found a fault of the product that is mended."""
    result = run(seed)
    assert not result.violations, told(result)


@pytest.mark.parametrize("seed", [0, 7, 42])
def test_a_seed_is_one_run(seed: int) -> None:
    """Byte by byte: else a failure could not be looked at twice."""
    first, second = run(seed), run(seed)
    assert not first.violations, told(first)
    assert first.trace == second.trace
    assert first.fingerprint == second.fingerprint


@pytest.mark.timeout(500)
@pytest.mark.parametrize("seed", [3, 123])
def test_a_seed_is_the_same_run_in_any_process(seed: int) -> None:
    """Neither the order of a set nor the address of an object has a say."""
    told_by = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", str(seed), "--trace"],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
            timeout=400,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told_by) == 1

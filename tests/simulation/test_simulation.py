"""The simulation, as every run of the tests does it: some seeds of their own, whole and again."""

import os

import pytest

from tests.simulation.__main__ import told
from tests.simulation.world import run, run_quietly

SEEDS = int(os.environ.get("SHIPPER_TEST_SEEDS", "300"))
_CHUNK = 50
_CHUNKS = [range(first, min(first + _CHUNK, SEEDS)) for first in range(0, SEEDS, _CHUNK)]


@pytest.mark.parametrize("seeds", _CHUNKS, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_no_seed_violates_an_invariant(seeds: range) -> None:
    """Whatever applications, network, API, database, clock and operators do in it."""
    violating = [result for result in map(run_quietly, seeds) if result.violations]
    assert not violating, "\n\n".join(map(told, violating))


@pytest.mark.parametrize("seed", [0, 7, 42])
def test_a_seed_is_one_run(seed: int) -> None:
    """Byte by byte: else a failure could not be looked at twice."""
    first, second = run(seed), run(seed)
    assert first.trace == second.trace
    assert first.fingerprint == second.fingerprint

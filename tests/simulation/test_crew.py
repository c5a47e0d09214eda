"""Several daemons in the simulation: many seeds, and planted bugs.

`SHIPPER_TEST_CREWS` says how many seeds; `python -m tests.simulation.crew_runs` runs any number.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Connection

from tests import conftest
from tests.planting import is_caught
from tests.simulation.crew_database import Server
from tests.simulation.crew_mutants import MUTANTS, planted
from tests.simulation.crew_runs import told
from tests.simulation.crew_world import AWAY, CALM, OUTAGE, run

SEEDS = int(os.environ.get("SHIPPER_TEST_CREWS", "50"))
_CHUNK = 50
OUTAGE_SEEDS, CALM_SEEDS, AWAY_SEEDS = 5, 10, 10
_CHUNKS = [range(first, min(first + _CHUNK, SEEDS)) for first in range(0, SEEDS, _CHUNK)]
CAUGHT = {
    "a_daemon_that_stops_gives_nothing_back": 2_000_000,
    "a_dead_daemon_has_its_shards_for_three_leases": 2_000_000,
    "a_dead_daemon_keeps_its_shards": 0,
    "a_lease_is_judged_by_ones_own_wall_clock": 5,
    "a_newcomer_waits_for_its_share": 2_000_000,
    "a_shard_is_given_back_with_a_try_in_flight": 35,
    "a_token_is_not_ended_before_its_shards_move": 16,
    "claims_of_the_dead_are_not_recovered": 0,
    "limits_are_not_shared_out": 1,
    "numbers_of_an_old_block_go_on": 0,
    "probes_are_not_spread": 1_000_001,
    "rates_are_not_shared_out": 0,
    "rows_of_a_gained_shard_come_from_the_tail": 0,
    "silence_counts_while_the_database_is_away": 3_000_001,
    "two_daemons_lead": 0,
}
# Of those that only delay something: the change after which a bound is exceeded.
LATE = {
    "a_daemon_that_stops_gives_nothing_back": "after one has stopped",
    "a_dead_daemon_has_its_shards_for_three_leases": "after one has gone",
    "a_newcomer_waits_for_its_share": "after one has joined",
}

# Everything that the seeds of a run are to have met, or they prove less than they say.
TROUBLES = frozenset({
    "crash", "stop", "join", "stall", "cut", "store", "operators", "reload", "reroute", "repeats",
    "ended: killed", "ended: lost", "ended: stopped",
})  # fmt: skip


@pytest.fixture(scope="module")
def server(
    postgres_server: URL, postgres_administrator: Connection, postgres_template: str
) -> Iterator[Server]:
    """Give one database for all seeds."""
    for url in conftest.fresh(postgres_server, postgres_administrator, postgres_template):
        one = Server(url)
        yield one
        one.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", _CHUNKS, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_no_seed_of_a_crew_violates_an_invariant(seeds: range, server: Server) -> None:
    """Whatever happens to its daemons, their clocks, their networks and their ways to the database."""
    results = [run(seed, server) for seed in seeds]
    violating = [result for result in results if result.violations]
    assert not violating, "\n\n".join(map(told, violating))
    met = sum((result.counts for result in results), Counter[str]())
    assert len(seeds) < _CHUNK or met.keys() >= TROUBLES, TROUBLES.difference(met)


@pytest.mark.timeout(300)
def test_all_daemons_together_probe_hardly_more_often_than_one(server: Server) -> None:
    """A receiver that is down gets at most twice as many probes as from one daemon."""
    results = [run(seed, server) for seed in range(OUTAGE, OUTAGE + OUTAGE_SEEDS)]
    violating = [result for result in results if result.violations]
    assert not violating, "\n\n".join(map(told, violating))
    assert all(result.counts["probes"] for result in results)


@pytest.mark.timeout(300)
def test_a_change_of_a_crew_is_over_in_time(server: Server) -> None:
    """One that joins, that stops or that dies: the shares are fair again within the bounds."""
    results = [run(seed, server) for seed in range(CALM, CALM + CALM_SEEDS)]
    violating = [result for result in results if result.violations]
    assert not violating, "\n\n".join(map(told, violating))
    asked = sum((result.counts for result in results), Counter[str]())
    assert all(asked[f"bound: {change}"] >= 9 for change in ("joined", "stopped", "gone")), asked


@pytest.mark.timeout(300)
def test_an_outage_of_the_database_ends_no_living_daemon(server: Server) -> None:
    """Though it lasts longer than a lease; one that dies in it is ended in time all the same."""
    results = [run(seed, server) for seed in range(AWAY, AWAY + AWAY_SEEDS)]
    violating = [result for result in results if result.violations]
    assert not violating, "\n\n".join(map(told, violating))
    met = sum((result.counts for result in results), Counter[str]())
    assert met["away"] == AWAY_SEEDS
    assert met["ended: killed"] >= 3
    assert met["bound: hurt"] == AWAY_SEEDS


@pytest.mark.timeout(300)
def test_a_seed_of_a_crew_is_one_run(server: Server) -> None:
    """Line by line: else a failure could not be looked at twice."""
    first, second = run(3, server), run(3, server)
    assert first.trace == second.trace


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CAUGHT)
def test_a_bug_planted_in_a_crew_is_caught(name: str, server: Server) -> None:
    """By an invariant, in a run that is sound without it."""
    seed = CAUGHT[name]
    with planted(name):
        violations = run(seed, server).violations
    assert is_caught(violations), f"seed {seed} doesn't catch it any more: {violations[:3]}"
    assert any(LATE.get(name, "") in one for one in violations), violations
    if not _is_shown_to_be_sound(seed):
        assert not run(seed, server).violations


def _is_shown_to_be_sound(seed: int) -> bool:
    """Return whether one of the tests above runs a seed."""
    runs = ((0, SEEDS), (OUTAGE, OUTAGE_SEEDS), (CALM, CALM_SEEDS), (AWAY, AWAY_SEEDS))
    return any(first <= seed < first + number for first, number in runs)


def test_every_bug_planted_in_a_crew_is_listed() -> None:
    """With the seed that catches it."""
    assert CAUGHT.keys() == MUTANTS.keys()

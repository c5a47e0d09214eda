"""Which shards each daemon has: for any number of daemons, from any beginning."""

from collections import Counter
from random import Random

import pytest

from shipper.policy.shares import (
    ALL_SHARDS,
    LEADS,
    NOTHING,
    SHARDS,
    WHOLE,
    Shares,
    least_for,
    part_of,
    plan,
    target,
)

Owners = dict[int, int | None]
COUNTS = range(1, 71)


def step(owners: Owners, daemons: list[int], token: int) -> bool:
    """Let a daemon do what its plan says; return whether that was anything."""
    takes, gives = plan(daemons, owners, token)
    for shard in takes:
        assert owners[shard] not in daemons, "took what another daemon has"
        owners[shard] = token
    for shard in gives:
        assert owners[shard] == token, "gave what it hasn't"
        owners[shard] = None
    return bool(takes or gives)


def settle(owners: Owners, daemons: list[int], dice: Random) -> None:
    """Let all daemons act, in any order, until nothing is left to do."""
    for _ in range(4):
        acted = [step(owners, daemons, token) for token in dice.sample(daemons, len(daemons))]
        if not any(acted):
            return
    raise AssertionError("the shares don't come to rest")


@pytest.mark.parametrize("count", COUNTS)
def test_shares_are_fair_whatever_the_shards_were_before(count: int) -> None:
    """They differ by one at most, none is free, and it takes three rounds."""
    dice = Random(count)
    daemons = sorted(dice.sample(range(1, 500), count))
    former = dice.sample(range(500, 600), 3)
    owners: Owners = {shard: dice.choice([None, *daemons, *former]) for shard in ALL_SHARDS}
    settle(owners, daemons, dice)
    shares = [sum(owner == token for owner in owners.values()) for token in daemons]
    assert sum(shares) == SHARDS
    assert max(shares) - min(shares) <= 1
    assert shares == [target(daemons, token) for token in daemons]


@pytest.mark.parametrize("count", COUNTS)
def test_the_chores_stay_where_they_are_while_daemons_join(count: int) -> None:
    """Only the end of a daemon moves them."""
    owners: Owners = dict.fromkeys(ALL_SHARDS, 1)
    daemons = [1]
    for token in range(2, count + 1):
        daemons.append(token)
        settle(owners, daemons, Random(token))
        assert owners[LEADS] == 1


def test_no_shard_moves_twice_when_a_daemon_joins() -> None:
    """Those that nothing is wanted of keep theirs: they don't pause."""
    owners: Owners = dict.fromkeys(ALL_SHARDS, 1)
    settle(owners, [1, 2], Random(1))
    before = dict(owners)
    settle(owners, [1, 2, 3], Random(2))
    moved = [shard for shard in ALL_SHARDS if owners[shard] != before[shard]]
    assert len(moved) == target([1, 2, 3], 3)
    assert {owners[shard] for shard in moved} == {3}


@pytest.mark.parametrize("limit", [1, 2, 7, 63, 64, 65, 1000])
@pytest.mark.parametrize("count", COUNTS)
def test_the_parts_of_a_limit_add_up_to_no_more(limit: int, count: int) -> None:
    """But for the one place that each daemon has at least."""
    daemons = list(range(count))
    parts = [part_of(limit, target(daemons, token)) for token in daemons]
    assert min(parts) >= 1
    assert sum(part for part in parts if part > 1) <= limit
    assert sum(parts) <= max(limit, count) + count - 1


@pytest.mark.parametrize("limit", [1, 2, 7, 8, 16, 64, 1000])
def test_so_few_shards_allow_what_is_in_flight(limit: int) -> None:
    """One less would not, and without any, one event may be in flight."""
    for in_flight in range(limit + 1):
        least = least_for(limit, in_flight)
        assert part_of(limit, least) >= in_flight
        assert least == 0 or part_of(limit, least - 1) < in_flight


def test_the_others_share_as_if_one_that_stops_had_left() -> None:
    """It takes nothing and gives everything, also if all stop."""
    owners: Owners = {shard: (1, 2, 3)[shard % 3] for shard in ALL_SHARDS}
    assert plan([1, 2, 3], owners, 3, {3}) == ((), frozenset(range(2, SHARDS, 3)))
    owners |= dict.fromkeys(range(2, SHARDS, 3))
    assert plan([1, 2, 3], owners, 3, {3}) == ((), frozenset())
    assert plan([1, 2, 3], owners, 3, {1, 2, 3}) == ((), frozenset())
    for token in (1, 2):
        takes, gives = plan([1, 2, 3], owners, token, {3})
        assert not gives
        owners |= dict.fromkeys(takes, token)
    assert Counter(owners.values()) == {1: 32, 2: 32}


def test_a_daemon_alone_has_everything_and_one_that_waits_has_nothing() -> None:
    """The first does the chores."""
    assert WHOLE.leads
    assert not NOTHING.leads
    assert WHOLE.kept == ALL_SHARDS
    giving = Shares(frozenset({0, 1, 2}), 2, gives=frozenset({2}))
    assert giving.kept == {0, 1}
    assert part_of(64, SHARDS) == 64

"""Several daemons on one PostgreSQL: who has which shards, and who has ended.

Promise 2 in the guarantees. Their processes are made up, but the statements are real.
"""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shipper.errors import LeaseLost, OutboxHeld
from shipper.policy.shares import ALL_SHARDS, SHARDS, Shares
from shipper.store.db.transactions import writing
from shipper.store.drain.messages import Work
from shipper.store.lease.membership import _daemons
from shipper.store.lease.stillness import DaemonRow
from shipper.store.upgrade.recount import is_needed
from tests.store.daemons import NOW, write
from tests.store.lease.members import (
    TTL,
    FakeClock,
    Joined,
    Member,
    expect_consistent,
    fall_silent,
    owners,
    pass_watched,
    settle,
)
from tests.store.processes import process
from tests.store.shipping import ask, claim, everything, run, until


@pytest.mark.parametrize("seed", range(3))
def test_shares_differ_by_at_most_one_whatever_the_order_of_steps(
    post: Engine, joined: Joined, seed: int
) -> None:
    """Each joins when it likes, and no shard ever has two daemons."""
    chance = random.Random(seed)
    members: list[Member] = []
    for count in range(1, 6):
        members.append(joined())
        for one in chance.choices(members, k=3):
            one.attend()
        held = [shard for one in members for shard in one.queue.shares.held]
        assert len(held) == len(set(held))
        sizes = settle(chance.sample(members, count))
        assert sum(sizes) == SHARDS
        assert max(sizes) - min(sizes) <= 1
        expect_consistent(post, members)
        assert [one.queue.shares.leads for one in members].count(True) == 1


def test_a_shard_moves_only_once_it_is_given(post: Engine, joined: Joined) -> None:
    """The younger daemon has nothing until then; what doesn't move is not touched."""
    first = joined()
    second = joined()
    assert second.queue.shares.held == frozenset()
    first.queue.attend(frozenset())
    assert len(first.queue.shares.gives) == SHARDS // 2
    assert second.attend().held == frozenset()
    moved = min(first.queue.shares.gives)
    first.queue.attend(frozenset({moved}))
    assert second.attend().held == {moved}
    assert first.queue.shares.held == ALL_SHARDS - {moved}
    assert [shard for shard, owner in owners(post).items() if owner is None] == []


def test_more_daemons_than_shards_wait_and_are_ready(
    monkeypatch: pytest.MonkeyPatch, joined: Joined, clock: FakeClock
) -> None:
    """The youngest have nothing; one of them takes the place of a daemon that ends."""
    monkeypatch.setattr("shipper.policy.shares.SHARDS", 2)
    monkeypatch.setattr("shipper.store.lease.membership.ALL_SHARDS", frozenset({0, 1}))
    members = [joined() for _ in range(3)]
    run(members[0].engine, "DELETE FROM shipper_shard WHERE shard > 1")
    assert settle(members) == [1, 1, 0]
    members[0].queue.release()
    assert settle(members[1:]) == [1, 1]


def test_a_clean_leave_frees_all_shards_at_once(post: Engine, joined: Joined) -> None:
    """And the others notice it with their next pulse."""
    first, second = joined(), joined()
    settle([first, second])
    looks = second.looks()
    before = looks.pulse().epoch
    first.queue.release()
    assert looks.pulse().epoch > before
    second.attend()
    assert second.queue.shares.held == ALL_SHARDS
    assert ask(post, "SELECT count(*) FROM shipper_daemon") == [(1,)]


def test_one_that_will_not_share_is_refused(joined: Joined) -> None:
    """A command that takes the whole outbox waits for every daemon to end."""
    first = joined()
    whole = joined(joins=False)
    with pytest.raises(OutboxHeld):
        whole.queue.acquire(whole.owner)
    first.queue.release()
    whole.queue.acquire(whole.owner)
    assert whole.queue.shares.held == ALL_SHARDS


# -- the dead and the silent ----------------------------------------------------------------------

DAEMON = """
import sys
from shipper.store.db.engine import open_engine
from shipper.store.lease.lease import Owner
from shipper.store.drain.queue import Queue
from shipper.store.drain.messages import Work

queue = Queue(open_engine(sys.argv[1]), lease_ttl=3600.0)
queue.acquire(Owner.here(), alone=False)
print(*(event.id for event in queue.turn(Work(now=0.0, wanted=[1, 2, 3]))), flush=True)
sys.stdin.read()
"""


def test_a_killed_one_is_taken_over_with_the_next_step(
    post: Engine, postgres_url: str, joined: Joined
) -> None:
    """However long its lease would last; the first claimed event of each lane goes first."""
    write(post, "a", "a", "b")
    with process(DAEMON, postgres_url) as daemon:
        assert daemon.said() == "1 2 3"
        other = joined()
        assert other.attend().held == frozenset()
        daemon.dies()
        until(lambda: other.attend().held == ALL_SHARDS)
    marked = ask(post, "SELECT id FROM shipper_outbox WHERE maybe_received = 1 ORDER BY id")
    assert marked == [(1,), (3,)]
    assert ask(post, "SELECT count(*) FROM shipper_claim") == [(0,)]


def test_a_silent_one_has_ended_after_its_lease_by_our_own_clock(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """No step of the server's clock makes that sooner."""
    silent, other = joined(), joined()
    settle([silent, other])
    write(post, "a")
    claim(silent.queue, 1)
    run(post, "UPDATE shipper_daemon SET expires_at = clock_timestamp() - interval '1 year'")
    other.attend()
    pass_watched(clock, TTL - 0.1, other)
    other.queue.renew()
    assert other.attend().ended == ()
    clock.now += 0.2
    [ended] = other.attend().ended
    assert (ended.name, ended.recovered) == ("another 1", 1)
    assert other.queue.shares.held == ALL_SHARDS


def test_one_is_waited_for_as_long_as_its_own_lease_lasts(joined: Joined, clock: FakeClock) -> None:
    """Not as long as the lease of the one that waits: theirs may differ."""
    silent, other = joined(), joined()
    silent.queue.describe(3 * TTL, "", "")
    silent.queue.renew()
    fall_silent(clock, other)
    assert other.attend().ended == ()
    fall_silent(clock, other)
    fall_silent(clock, other)
    assert len(other.attend().ended) == 1


@pytest.mark.parametrize("step", ["renew", "turn", "attend"])
def test_an_ended_one_learns_it_and_changes_nothing(
    post: Engine, joined: Joined, clock: FakeClock, step: str
) -> None:
    """Whatever it does next."""
    silent, other = joined(), joined()
    write(post, "a", "b")
    claim(silent.queue, 1)
    fall_silent(clock, other)
    assert other.attend().ended
    before = everything(post), owners(post)
    steps: dict[str, Callable[[], object]] = {
        "renew": silent.queue.renew,
        "turn": lambda: silent.queue.turn(Work(now=NOW, wanted=[2])),
        "attend": lambda: silent.queue.attend(ALL_SHARDS),
    }
    with pytest.raises(LeaseLost):
        steps[step]()
    silent.queue.release()
    assert (everything(post), owners(post)) == before


@pytest.mark.parametrize("step", ["renew", "turn"])
def test_one_that_writes_after_it_was_judged_is_spared(
    post: Engine, joined: Joined, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The change begins after the look; the row is locked and judged again."""
    other, silent = joined(), joined()
    write(post, "a")
    fall_silent(clock, other)
    membership = other.membership
    change = membership._change

    def late(*given: Any) -> Shares | None:
        silent.queue.renew() if step == "renew" else claim(silent.queue, 1)
        return change(*given)

    monkeypatch.setattr(membership, "_change", late)
    assert other.attend().ended == ()
    silent.queue.renew()


def test_one_whose_renewal_is_being_written_is_spared(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """Its row is locked: it would go on sending once that has committed. None waits for it."""
    other, silent = joined(), joined()
    settle([other, silent])
    fall_silent(clock, other)
    with writing(silent.engine) as tx:
        silent.queue.fence(tx)
        assert other.attend().ended == ()
        other.queue.turn(Work(now=NOW, wanted=[]))
    silent.queue.renew()
    expect_consistent(post, [other, silent])


def test_a_newcomer_waits_for_a_renewal_and_then_spares_its_daemon(
    joined: Joined, clock: FakeClock
) -> None:
    """It judges again once it has the lock of the row."""
    silent, newcomer = joined(), joined(joins=False)
    pass_watched(clock, TTL, newcomer)
    with writing(silent.engine) as tx:
        silent.queue.fence(tx)
        joins = threading.Thread(target=newcomer.join)
        joins.start()
        with newcomer.engine.connect() as watcher:
            waits = text(
                "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
                " WHERE relname = 'shipper_daemon' AND mode = 'RowShareLock' AND granted"
            )
            until(lambda: watcher.execute(waits).scalar_one() >= 2)
    joins.join()
    silent.queue.renew()
    assert newcomer.queue.shares.daemons == 2


def _row(watcher: Member, other: Member) -> DaemonRow:
    with writing(watcher.engine) as tx:
        return next(row for row in _daemons(tx) if row.token == other.queue.token)


def test_what_an_ended_one_has_counted_and_seen_is_kept(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """Its counts are added up, and how it saw its destinations is what the next begins with."""
    silent, other = joined(), joined()
    write(post, "a", "b", "c")
    silent.link("paused", "no such API ID")
    silent.send(1)
    silent.send(2)
    fall_silent(clock, other)
    assert other.attend().ended
    assert ask(post, "SELECT name, delivered, state, reason FROM shipper_destination") == [
        ("default", 2, "paused", "no such API ID")
    ]
    assert ask(post, "SELECT count(*) FROM shipper_link") == [(0,)]
    assert ask(post, "SELECT count(*) FROM shipper_count") == [(0,)]
    other.send(3)
    assert not is_needed(post)

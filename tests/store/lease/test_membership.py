"""Several daemons on one PostgreSQL: who has which shards, who has ended, and what that leaves.

Promise 2 in the guarantees. Their processes are made up, but the statements are real.
"""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shipper.errors import LeaseLost, OutboxChanged, OutboxHeld, SchemaError
from shipper.policy.shares import ALL_SHARDS, SHARDS, Shares
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.lease.membership import DaemonRow, Membership, _daemons
from shipper.store.operate.hold import hold_destination
from shipper.store.upgrade.last_numbers import catch_up
from shipper.store.upgrade.recount import is_needed
from tests.store.daemons import NOW, generation, write
from tests.store.lease.members import (
    TTL,
    FakeClock,
    Member,
    elsewhere,
    expect_consistent,
    owners,
    settle,
)
from tests.store.processes import process
from tests.store.shipping import accepted, ask, claim, everything, record, run, until

Joined = Callable[..., Member]


def _membership(member: Member) -> Membership:
    found = member.queue._tenure
    assert isinstance(found, Membership)
    return found


def _looks(member: Member) -> Looks:
    return Looks(member.engine, lambda: member.queue.token)


@pytest.fixture
def clock() -> FakeClock:
    """Give the clock of all daemons."""
    return FakeClock()


@pytest.fixture
def post(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox on PostgreSQL."""
    engine = open_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def joined(postgres_url: str, clock: FakeClock) -> Iterator[Joined]:
    """Give what makes a daemon that has joined."""
    made: list[Member] = []

    def join(owner: Owner | None = None, **options: bool) -> Member:
        made.append(Member(postgres_url, owner or elsewhere(len(made) + 1), clock, **options))
        return made[-1]

    yield join
    for one in made:
        one.close()


def _fall_silent(clock: FakeClock, *watchers: Member) -> None:
    """Let the lease of all others end, as these daemons see it."""
    for one in watchers:
        one.attend()
    clock.now += TTL
    for one in watchers:
        one.queue.renew()


# -- joining and leaving --------------------------------------------------------------------------


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
    assert len(first.queue.attend(frozenset()).gives) == SHARDS // 2
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
    looks = _looks(second)
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
    clock.now += TTL - 0.1
    other.queue.renew()
    assert other.attend().ended == ()
    clock.now += 0.2
    [ended] = other.attend().ended
    assert (ended.name, ended.recovered) == ("another 1", 1)
    assert other.queue.shares.held == ALL_SHARDS


@pytest.mark.parametrize("step", ["renew", "turn", "attend"])
def test_an_ended_one_learns_it_and_changes_nothing(
    post: Engine, joined: Joined, clock: FakeClock, step: str
) -> None:
    """Whatever it does next."""
    silent, other = joined(), joined()
    write(post, "a", "b")
    claim(silent.queue, 1)
    _fall_silent(clock, other)
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
    _fall_silent(clock, other)
    membership = _membership(other)
    change = membership._change

    def late(*given: Any) -> Shares:
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
    _fall_silent(clock, other)
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
    _membership(newcomer)._watch.left(_row(newcomer, silent))
    clock.now += TTL
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
    _fall_silent(clock, other)
    assert other.attend().ended
    assert ask(post, "SELECT name, delivered, state, reason FROM shipper_destination") == [
        ("default", 2, "paused", "no such API ID")
    ]
    assert ask(post, "SELECT count(*) FROM shipper_link") == [(0,)]
    assert ask(post, "SELECT count(*) FROM shipper_count") == [(0,)]
    other.send(3)
    assert not is_needed(post)


# -- numbers --------------------------------------------------------------------------------------


def test_numbers_of_a_key_increase_across_every_hand_over(post: Engine, joined: Joined) -> None:
    """From one daemon to another and back, though each takes many numbers at a time."""
    first, second = joined(), joined()
    write(post, *["a"] * 4)
    shard = _shard_of(post, 1)
    first.send(1)
    _move(shard, first, second)
    second.send(2)
    _move(shard, second, first)
    first.send(3)
    _move(shard, first, second)
    second.send(4)
    found = [number for [number] in ask(post, _NUMBERS)]
    assert found == sorted(set(found))


_NUMBERS = "SELECT delivery_number FROM shipper_outbox ORDER BY id"


def _shard_of(post: Engine, row: int) -> int:
    [(shard,)] = ask(post, "SELECT slot & 63 FROM shipper_outbox WHERE id = :id", id=row)
    return int(shard)


def _move(shard: int, giver: Member, taker: Member) -> None:
    """Have one daemon give a shard, and the other one take it, whatever the shares should be."""
    change = "UPDATE shipper_shard SET token = :token WHERE shard = :shard"
    run(giver.engine, change, token=taker.queue.token, shard=shard)
    for one in (giver, taker):
        one.queue.attend(frozenset())
    assert shard in taker.queue.shares.held - giver.queue.shares.held


def test_a_shard_that_came_back_without_an_answer_gets_new_numbers(
    post: Engine, joined: Joined
) -> None:
    """The daemon doesn't know that it had given the shard, and that another one had it since."""
    first, second = joined(), joined()
    write(post, "a", "a", "a")
    shard = _shard_of(post, 1)
    first.send(1)
    membership = _membership(first)
    known = membership.shares
    first.queue.attend(frozenset({shard}))
    run(post, "UPDATE shipper_shard SET token = :t WHERE token IS NULL", t=second.queue.token)
    second.attend()
    second.send(2)
    membership.shares = known
    second.queue.release()
    first.queue.attend(frozenset({shard}))
    first.send(3)
    found = [number for [number] in ask(post, _NUMBERS)]
    assert found == sorted(set(found))


# -- turns and commands ---------------------------------------------------------------------------


def test_turns_of_two_daemons_do_not_wait_for_each_other(post: Engine, joined: Joined) -> None:
    """Also while one of them is stuck in the middle of its transaction."""
    first, second = joined(), joined()
    write(post, "a", "b")
    with writing(first.engine) as tx:
        first.queue.fence(tx)
        second.send(2)
        second.queue.renew()
        second.attend()
    first.send(1)


def test_a_command_keeps_all_daemons_out_and_reaches_all(post: Engine, joined: Joined) -> None:
    """It holds the rows of all of them until it commits."""
    members = [joined(), joined()]
    looks = [_looks(one) for one in members]
    before = [one.pulse().generation for one in looks]
    with writing(members[0].engine) as tx:
        members[0].queue.fence(tx)  # a turn of one daemon is being written
        held = threading.Thread(target=hold_destination, args=(post, "default", NOW))
        held.start()
        blocked = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with members[1].engine.connect() as watcher:
            until(lambda: watcher.execute(text(blocked)).scalar_one() == 1)
        assert generation(members[1].engine) == before[1]
    held.join()
    assert all(one.pulse().generation > was for one, was in zip(looks, before, strict=True))


# -- what tools and failovers do ------------------------------------------------------------------


def test_emptied_shards_stay_with_who_has_them(post: Engine, joined: Joined) -> None:
    """Nothing is given to another daemon, also not to one that joins: a try may be in flight."""
    first, second = joined(), joined()
    settle([first, second])
    before = owners(post)
    run(post, "TRUNCATE shipper_shard")
    third = joined()
    assert third.queue.shares.held == frozenset()
    first.queue.attend(frozenset())
    second.queue.attend(frozenset())
    assert owners(post) == before
    settle([first, second, third])
    expect_consistent(post, [first, second, third])


def test_emptied_shards_of_a_daemon_that_ended_are_made_again(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """As soon as there is only one daemon, nothing can be in flight at another one."""
    silent, other = joined(), joined()
    settle([silent, other])
    run(post, "TRUNCATE shipper_shard")
    _fall_silent(clock, other)
    settle([other])
    assert other.queue.shares.held == ALL_SHARDS
    expect_consistent(post, [other])


def test_emptied_daemons_end_all_of_them_and_lose_nothing(post: Engine, joined: Joined) -> None:
    """Their claims are recovered by whichever joins next."""
    first, second = joined(), joined()
    write(post, "a", "b")
    claim(first.queue, 1)
    run(post, "TRUNCATE shipper_daemon")
    for one in (first, second):
        with pytest.raises(LeaseLost):
            one.queue.renew()
        with pytest.raises(LeaseLost):
            one.queue.attend(frozenset())
    assert second.join() == 1
    assert second.queue.shares.held == ALL_SHARDS
    assert ask(post, "SELECT id FROM shipper_outbox WHERE maybe_received = 1") == [(1,)]
    second.send(1, 2)
    assert not is_needed(post)


def test_the_claims_of_a_deleted_row_are_recovered_before_its_shards_move(
    post: Engine, joined: Joined
) -> None:
    """Also if the other daemon has joined long before."""
    first, second = joined(), joined()
    write(post, "a")
    claim(first.queue, 1)
    run(post, "DELETE FROM shipper_daemon WHERE token = :token", token=first.queue.token)
    assert second.attend().held == ALL_SHARDS
    assert ask(post, "SELECT maybe_received FROM shipper_outbox") == [(1,)]
    assert ask(post, "SELECT count(*) FROM shipper_claim") == [(0,)]


def test_emptied_turns_make_every_daemon_begin_again(post: Engine, joined: Joined) -> None:
    """The numbers of their turns are gone, so what they wrote may be gone too."""
    members = [joined(), joined()]
    settle(members)
    write(post, "a")
    run(post, "TRUNCATE shipper_turn")
    for one in members:
        with pytest.raises(OutboxChanged):
            one.queue.turn(Work(now=NOW, wanted=[1]))
        one.join()
    settle(members)
    expect_consistent(post, members)


def test_emptied_claims_lose_no_event(post: Engine, joined: Joined) -> None:
    """What is in flight is recorded as ever."""
    first = joined()
    write(post, "a", "b")
    events = claim(first.queue, 1)
    run(post, "TRUNCATE shipper_claim")
    record(first.queue, *map(accepted, events))
    first.send(2)
    assert ask(post, "SELECT count(*) FROM shipper_outbox WHERE status = 'delivered'") == [(2,)]


def test_an_emptied_lease_is_said(post: Engine, joined: Joined) -> None:
    """Nothing joins or moves without its row; that is repaired by an operator."""
    first, second = joined(), joined()
    first.queue.attend(frozenset())
    run(post, "TRUNCATE shipper_lease")
    with pytest.raises(SchemaError, match="shipper_lease was emptied"):
        first.attend()
    with pytest.raises(SchemaError, match="shipper_lease was emptied"):
        second.join()


def test_a_database_that_went_back_is_noticed(post: Engine, joined: Joined) -> None:
    """It knows neither the daemon nor its token: what it wrote is missing, too."""
    first = joined()
    run(post, "DELETE FROM shipper_daemon")
    run(post, "UPDATE shipper_lease SET token = 0 WHERE name = 'outbox'")
    for step in (first.queue.renew, first.attend):
        with pytest.raises(OutboxChanged, match="lacks what shipper last wrote"):
            step()


def test_a_token_of_a_lost_time_is_not_given_again(post: Engine, joined: Joined) -> None:
    """A daemon that joined just before a failover must not take another's token for its own."""
    late = joined()
    for table in ("daemon", "turn", "claim", "shard"):
        run(post, f"TRUNCATE shipper_{table}")
    run(post, "UPDATE shipper_lease SET token = 0 WHERE name = 'outbox'")
    fresh = joined()
    assert fresh.queue.token != late.queue.token
    with pytest.raises((OutboxChanged, LeaseLost)):
        late.queue.renew()


def test_corrected_numbers_make_every_daemon_begin_again(post: Engine, joined: Joined) -> None:
    """None of them ends: the operator has only run `db upgrade`."""
    members = [joined(), joined()]
    write(post, "a", "b")
    members[0].send(1)
    run(post, "SELECT setval('shipper_delivery', 1, false)")
    assert catch_up(post) == 1
    for one in members:
        with pytest.raises(OutboxChanged, match="corrected"):
            one.queue.renew()
        one.join()
    settle(members)
    members[0].send(2)
    found = [number for [number] in ask(post, _NUMBERS)]
    assert found == sorted(set(found))


def test_an_own_row_of_an_earlier_session_is_no_other_daemon(joined: Joined) -> None:
    """A session that begins again finds the row of the one before, and ends it."""
    first = joined()
    before = first.queue.token
    first.join()
    assert first.queue.token > before
    assert first.queue.shares.held == ALL_SHARDS


WHO = """
import sys
from shipper.store.lease.lease import Owner

print(Owner.here().write(), flush=True)
sys.stdin.read()
"""


def test_two_processes_of_this_machine_share(post: Engine, joined: Joined) -> None:
    """Neither is taken for dead, nor for the other."""
    with process(WHO) as other:
        owner = Owner.read(other.said())
        assert owner is not None
        members = [joined(Owner.here()), joined(owner)]
        assert settle(members) == [SHARDS // 2] * 2
        expect_consistent(post, members)


def test_a_dead_number_with_another_boot_is_not_dead(joined: Joined) -> None:
    """Only the machine itself can say that a process has ended."""
    gone = replace(Owner.here(), pid=2**22 + 1)
    first = joined(replace(gone, boot="another"))
    second = joined()
    assert second.attend().ended == ()
    first.queue.renew()
    third = joined(gone)
    assert len(second.attend().ended) == 1
    with pytest.raises(LeaseLost):
        third.queue.renew()


def test_a_queue_without_a_step_has_no_shares(post: Engine) -> None:
    """Before it has joined, nothing is its own."""
    assert Queue(post, lease_ttl=TTL).shares.held == frozenset()

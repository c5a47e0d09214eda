"""What tools and failovers do to daemons that share an outbox: nothing is lost.

Tools empty tables, restore them and delete rows; a failover takes the last writes back.
"""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from shipper.errors import LeaseLost, OutboxChanged, SchemaError
from shipper.policy.shares import ALL_SHARDS, SHARDS
from shipper.store.drain.messages import Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.upgrade.last_numbers import catch_up
from shipper.store.upgrade.recount import is_needed
from shipper.store.upgrade.repair import repair
from tests.store.daemons import NOW, write
from tests.store.lease.members import (
    NUMBERS,
    TTL,
    FakeClock,
    Joined,
    expect_consistent,
    fall_silent,
    owners,
    settle,
)
from tests.store.processes import process
from tests.store.shipping import accepted, ask, claim, record, run


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
    fall_silent(clock, other)
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
    found = [number for [number] in ask(post, NUMBERS)]
    assert found == sorted(set(found))


DAMAGES = {
    "numbers": "SELECT setval('shipper_delivery', 1, false)",
    "shards": "TRUNCATE shipper_shard",
}


@pytest.mark.parametrize("end", ["begins again", "is silent"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_in_flight_while_damage_is_corrected_is_sent_by_no_other_daemon(
    post: Engine, joined: Joined, clock: FakeClock, damage: str, end: str
) -> None:
    """Not before its daemon has ended its try, or its lease is over; then it may be received."""
    first, second = joined(), joined()
    settle([first, second])
    rows = write(post, *(str(number) for number in range(20)))
    shards = dict(ask(post, "SELECT id, slot & 63 FROM shipper_outbox"))
    mine, theirs = (
        [row for row in rows if shards[row] in one.queue.shares.held] for one in (first, second)
    )
    first.send(mine[1])
    events = claim(first.queue, mine[0])
    claim(second.queue, theirs[0])
    run(post, DAMAGES[damage])
    assert repair(post) != []
    for step in (second.attend, second.queue.renew):
        with pytest.raises(OutboxChanged, match="corrected"):
            step()
    assert second.join() == 1
    settle([second])
    assert shards[mine[0]] not in second.queue.shares.held
    assert _received(post) == {theirs[0]}
    if end == "begins again":
        with pytest.raises(OutboxChanged, match="corrected"):
            record(first.queue, *map(accepted, events))
        assert first.join() == 1
        settle([first, second])
        expect_consistent(post, [first, second])
    else:
        fall_silent(clock, second)
        settle([second])
        assert second.queue.shares.held == ALL_SHARDS
    assert _received(post) == {theirs[0], mine[0]}
    assert not is_needed(post)


def _received(post: Engine) -> set[int]:
    return {row for (row,) in ask(post, "SELECT id FROM shipper_outbox WHERE maybe_received = 1")}


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

"""Turns of several daemons: their numbers increase, and none waits for another one.

Promise 2 in the guarantees. An operator's command keeps all of them out, and reaches all.
"""

import threading

from sqlalchemy import Engine, text

from shipper.drain.terms import Question
from shipper.policy.backoff import Backoff
from shipper.store.db.transactions import writing
from shipper.store.drain.messages import Look, Work
from shipper.store.operate.hold import hold_destination
from tests.drain.test_route import WALL, route
from tests.store.daemons import NOW, generation, write
from tests.store.lease.members import (
    NUMBERS,
    Joined,
    Member,
)
from tests.store.shipping import ask, claim, failed, run, settled, until


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
    found = [number for [number] in ask(post, NUMBERS)]
    assert found == sorted(set(found))


def test_a_retry_waits_no_longer_because_the_clock_of_its_daemon_was_ahead(
    post: Engine, joined: Joined
) -> None:
    """After a hand-over the next daemon reads the time by its own clock: an hour behind."""
    first, second = joined(), joined()
    write(post, "a", "a")
    shard = _shard_of(post, 1)
    [event] = claim(first.queue, 1)
    failure = failed(event, 2.0)
    ahead = failure._replace(next_attempt_at=WALL + 3600.0 - 60.0)
    first.queue.turn(Work(now=NOW, records=[ahead], released=[1]))
    _move(shard, first, second)
    one = route(backoff=Backoff(1.0, 3600.0))
    one.take_page(Question(SCAN), settled(second.looks()).page(SCAN), 100.0)
    one.lanes.wake_due(100.0)
    assert one.lanes.has_to_fetch()


SCAN = Look("pending", "default", 9)


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
    membership = first.membership
    known = membership.shares
    first.queue.attend(frozenset({shard}))
    run(post, "UPDATE shipper_shard SET token = :t WHERE token IS NULL", t=second.queue.token)
    second.attend()
    second.send(2)
    membership.shares = known
    second.queue.release()
    first.queue.attend(frozenset({shard}))
    first.send(3)
    found = [number for [number] in ask(post, NUMBERS)]
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
    looks = [one.looks() for one in members]
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

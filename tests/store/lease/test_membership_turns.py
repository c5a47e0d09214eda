"""Turns of several daemons: their numbers increase, and none waits for another one.

Promise 2 in the guarantees. An operator's command keeps all of them out, and reaches all.
"""

import threading
from time import monotonic

import pytest
from sqlalchemy import Engine, text

from shipper.drain.terms import Question
from shipper.errors import StoreUnavailable
from shipper.policy.backoff import Backoff
from shipper.policy.shares import ALL_SHARDS
from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.db.transactions import writing
from shipper.store.drain.messages import Look, Work
from shipper.store.operate.dead_letters import retry
from shipper.store.operate.hold import hold_destination, hold_key, release_destination
from shipper.store.operate.reroute import reroute
from shipper.store.upgrade.recount import is_needed
from shipper.store.upkeep.retention import Cutoffs, prune
from tests.drain.test_route import WALL, route
from tests.store.daemons import NOW, generation, write
from tests.store.lease.members import (
    NUMBERS,
    Joined,
    Member,
)
from tests.store.shipping import ask, claim, failed, record, refused, run, settled, until


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
LATER = Cutoffs(NOW + 1e9, None)


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


def test_a_taken_shard_brings_what_its_last_holder_knew_to_be_settled(
    post: Engine, joined: Joined
) -> None:
    """Some of that may have been received: it goes on while a transaction holds others back."""
    first, second = joined(), joined()
    write(post, "a")
    known = settled(first.looks()).settled
    first.queue.turn(Work(now=NOW, wanted=[1], settled=known))
    other = open_engine(_url(post))
    with other.connect() as shop:
        shop.execute(text("INSERT INTO shipper_outbox (payload) VALUES ('{}')"))
        write(post, "a")
        first.queue.release()
        assert second.attend().held == ALL_SHARDS
        looks = second.looks()
        assert looks.pulse().held_back
        assert [row.id for row in looks.look(SCAN)] == [1]
        shop.commit()
    other.dispose()
    assert len(settled(looks).look(SCAN)) == 3


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


def test_what_changes_no_claim_waits_for_no_daemon(post: Engine, joined: Joined) -> None:
    """One may have stopped in the middle of its transaction."""
    first, second = joined(), joined()
    write(post, *"abc")
    first.send(1)
    second.send(2)
    with writing(first.engine) as tx:
        first.queue.fence(tx)
        assert hold_destination(post, "default", NOW)
        assert release_destination(post, "default", NOW)
        assert sum(gone.total() for gone in prune(post, LATER, monotonic)) == 2
        second.send(3)
    assert not is_needed(post)


def test_a_deletion_and_a_turn_that_adds_up_never_wait_for_each_other(
    post: Engine, joined: Joined
) -> None:
    """Both lock what was counted, then the counters in the order of their names."""
    first, second = joined(), joined()
    write(post, "a", destination="a")
    write(post, "z", destination="z")
    first.send(1, 2)
    for row in (3, 4):
        write(post, "z", destination="z")
        second.send(row)  # the second one isn't added up yet
    assert ask(post, "SELECT DISTINCT name FROM shipper_count") == [("z",)]
    counter = "UPDATE shipper_destination SET delivered = delivered WHERE name = :name"
    deleted: list[int] = []
    with writing(first.engine) as tx:
        first.queue.fence(tx)
        tx.execute(text(counter), {"name": "a"})
        thread = threading.Thread(
            target=lambda: deleted.extend(gone.total() for gone in prune(post, LATER, monotonic))
        )
        thread.start()
        until(lambda: _waiting(second) == 1)
        tx.execute(text(counter), {"name": "z"})
    thread.join()
    assert sum(deleted) == 4
    assert not is_needed(post)


def _waiting(member: Member) -> int:
    """Return how many sessions wait for a lock."""
    with member.engine.connect() as watcher:
        found: int = watcher.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        ).scalar_one()
    return found


def test_a_command_says_for_which_daemon_it_has_waited(post: Engine, joined: Joined) -> None:
    """A change of events waits for a while, and changes nothing."""
    first, second = joined(), joined()
    [row, _] = write(post, "a", "b")
    record(first.queue, *map(refused, claim(first.queue, row)))
    impatient = open_engine(f"{_url(post)}&options=-clock_timeout%3D100ms")
    with writing(first.engine) as tx:
        first.queue.fence(tx)
        for act in (
            lambda: retry(impatient, Selection(ids=(row,)), NOW),
            lambda: hold_key(impatient, "default", "b", NOW),
            lambda: list(reroute(impatient, Selection(ids=(row,)), "erp", NOW)),
        ):
            with pytest.raises(
                StoreUnavailable, match=rf"idle in transaction.*, the daemon {first.owner.boot}\)$"
            ):
                act()
        second.send(2)
    impatient.dispose()
    assert ask(post, "SELECT status FROM shipper_outbox ORDER BY id") == [
        ("dead",),
        ("delivered",),
    ]
    assert retry(post, Selection(ids=(row,)), NOW) == 1


def _url(post: Engine) -> str:
    return post.url.render_as_string(hide_password=False)


def test_a_command_keeps_all_daemons_out_and_reaches_all(post: Engine, joined: Joined) -> None:
    """It holds the rows of all of them until it commits."""
    members = [joined(), joined()]
    looks = [one.looks() for one in members]
    before = [one.pulse().generation for one in looks]
    with writing(members[0].engine) as tx:
        members[0].queue.fence(tx)  # a turn of one daemon is being written
        held = threading.Thread(target=hold_key, args=(post, "default", "k", NOW))
        held.start()
        until(lambda: _waiting(members[1]) == 1)
        assert generation(members[1].engine) == before[1]
    held.join()
    assert all(one.pulse().generation > was for one, was in zip(looks, before, strict=True))

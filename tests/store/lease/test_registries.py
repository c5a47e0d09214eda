"""What went wrong in other programs' lists of workers, heartbeats and leaders.

Each test is what a public report describes, told of daemons on one PostgreSQL. Their processes are
made up, but the statements are real.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from sqlalchemy import Engine

from shipper.errors import LeaseLost
from shipper.policy.shares import ALL_SHARDS
from shipper.store.drain.messages import LinkRow, Work
from shipper.store.drain.queue import Queue
from shipper.store.report.daemons import running_daemons
from tests.store.daemons import NOW, column, tamper, write
from tests.store.lease.members import (
    TTL,
    FakeClock,
    Member,
    elsewhere,
    fall_silent,
    owners,
    settle,
)
from tests.store.shipping import accepted, ask, claim, record

Joined = Callable[..., Member]
_NAMED = ("daemon", "shard", "link", "turn", "claim", "count")


@pytest.fixture
def joined(postgres_url: str, clock: FakeClock) -> Iterator[Joined]:
    """Give what makes a daemon that has joined, with a lease of that length."""
    made: list[Member] = []

    def join(ttl: float = TTL) -> Member:
        member = Member(postgres_url, elsewhere(len(made) + 1), clock, joins=False)
        member.queue = Queue(member.engine, lease_ttl=ttl, monotonic=clock)
        member.queue.acquire(member.owner, alone=False, name="till")
        made.append(member)
        return member

    yield join
    for one in made:
        one.close()


def _tables_with(post: Engine, token: int) -> list[str]:
    """Return the tables that name a token."""
    count = "SELECT count(*) FROM shipper_{0} WHERE token = :token"
    return [name for name in _NAMED if ask(post, count.format(name), token=token) != [(0,)]]


def test_two_of_one_name_are_told_apart_by_their_tokens(joined: Joined, clock: FakeClock) -> None:
    """An old leader can't prolong the lease of the new one, and take it for its own."""
    old, new = joined(), joined()
    settle([old, new])
    assert (old.queue.shares.leads, new.queue.shares.leads) == (True, False)
    fall_silent(clock, new)
    assert len(new.attend().ended) == 1
    assert new.queue.shares.leads
    for _ in range(3):
        with pytest.raises(LeaseLost):
            old.queue.renew()
    with pytest.raises(LeaseLost):
        old.attend()
    new.queue.renew()
    assert new.attend().held == ALL_SHARDS


def test_each_is_judged_by_its_own_lease(post: Engine, joined: Joined, clock: FakeClock) -> None:
    """One with slow destinations has a long lease: another's shorter one says nothing about it."""
    slow, quick = joined(600.0), joined(30.0)
    settle([slow, quick])
    fall_silent(clock, quick, seconds=599.0)
    assert quick.attend().ended == ()
    assert [one.is_missing for one in running_daemons(post)] == [False, False]
    fall_silent(clock, slow, seconds=31.0)
    [ended] = slow.attend().ended
    assert ended.process == str(quick.owner)
    assert slow.queue.shares.held == ALL_SHARDS


def test_nothing_is_left_of_one_that_writes_after_its_end(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """No late write makes half of a row anew, which no step would then end."""
    late, other = joined(), joined()
    settle([late, other])
    rows = write(post, *"abcdefgh")
    events = claim(late.queue, *rows)
    token = late.queue.token
    assert set(_tables_with(post, token)) == {"daemon", "shard", "turn", "claim"}
    fall_silent(clock, other)
    assert other.attend().ended
    link = LinkRow("default", "ready", None, NOW, None)
    for write_late in (
        lambda: record(late.queue, *map(accepted, events)),
        lambda: late.queue.turn(Work(now=NOW, links=[link])),
        late.queue.renew,
        late.attend,
        late.queue.release,
    ):
        with suppress(LeaseLost):
            write_late()
        assert _tables_with(post, token) == []
    assert {column(post, "status", row) for row in rows} == {"pending"}


def test_what_was_taken_over_is_taken_over_again(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """The daemon that took over dies before it has sent it: nothing waits for another start."""
    first, second, third = joined(), joined(), joined()
    settle([first, second, third])
    rows = write(post, "a", "a", "b")
    claim(first.queue, *rows)
    fall_silent(clock, second, third)
    assert [one.recovered for one in second.attend().ended] == [2]
    again = claim(second.queue, rows[0])
    assert [(one.id, one.maybe_received) for one in again] == [(rows[0], True)]
    fall_silent(clock, third)
    assert len(third.attend().ended) == 1
    assert third.queue.shares.held == ALL_SHARDS
    assert [bool(column(post, "maybe_received", row)) for row in rows] == [True, False, True]
    third.send(*rows)
    assert {column(post, "status", row) for row in rows} == {"delivered"}
    assert ask(post, "SELECT count(*) FROM shipper_claim") == [(0,)]


def test_one_whose_row_was_removed_is_not_at_work_unseen(post: Engine, joined: Joined) -> None:
    """It learns it with its next write, and another daemon has its shards at once."""
    removed, other = joined(), joined()
    settle([removed, other])
    rows = write(post, "a", "a")
    events = claim(removed.queue, *rows)
    tamper(post, "DELETE FROM shipper_daemon WHERE token = :token", token=removed.queue.token)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            record(removed.queue, accepted(events[0]))
    assert other.attend().held == ALL_SHARDS
    assert set(owners(post).values()) == {other.queue.token}
    assert [bool(column(post, "maybe_received", row)) for row in rows] == [True, False]
    assert _tables_with(post, removed.queue.token) == []
    other.send(*rows)

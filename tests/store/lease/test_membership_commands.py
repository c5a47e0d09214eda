"""Operators' commands beside several daemons on one PostgreSQL: each has some of the events.

Promise 2 in the guarantees: nothing is changed that any of them may send.
"""

from collections.abc import Callable, Iterator, Sequence

import pytest
from sqlalchemy import Engine

from shipper.store.db.selection import Selection
from shipper.store.drain.messages import Work
from shipper.store.operate.dead_letters import retry
from shipper.store.operate.discard import discard_pending
from shipper.store.operate.recall import Step
from shipper.store.operate.reroute import reroute
from shipper.store.report.verify import verify
from tests.store.daemons import NOW, write
from tests.store.lease.members import FakeClock, Joined, Member, fall_silent, settle
from tests.store.shipping import ask, claim, claims, record, refused

EVENTS = 20
COMMANDS: dict[str, Callable[[Engine], Iterator[Step]]] = {
    "reroute": lambda post: reroute(post, Selection(), "erp", NOW),
    "discard": lambda post: discard_pending(post, Selection()),
}


def _two(post: Engine, joined: Joined) -> tuple[list[Member], list[list[int]]]:
    """Return two daemons that share the outbox, and the events of each."""
    members = [joined(), joined()]
    settle(members)
    for one in members:
        one.link("ready")
    write(post, *(str(number) for number in range(EVENTS)))
    shards = ask(post, "SELECT id, slot & 63 FROM shipper_outbox ORDER BY id")
    parts = [[row for row, shard in shards if shard in m.queue.shares.held] for m in members]
    assert sum(map(len, parts)) == EVENTS
    return members, parts


def _recalls(members: Sequence[Member]) -> list[int]:
    """Return how often each daemon sees that events were asked for."""
    return [one.looks().holds({}).recalls.get("default", 0) for one in members]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_changes_nothing_while_any_daemon_has_some_of_it(
    post: Engine, joined: Joined, name: str
) -> None:
    """Each of them is asked, with every step; when the last has let go, all is changed."""
    members, parts = _two(post, joined)
    state = "SELECT id, destination, status FROM shipper_outbox ORDER BY id"
    before = ask(post, state)
    for one, part in zip(members, parts, strict=True):
        assert len(claim(one.queue, *part[:2])) == 2
    looks = [one.looks() for one in members]
    known = [one.pulse().generation for one in looks]
    steps = COMMANDS[name](post)
    asked = _recalls(members)
    for left, one, part in zip((4, 2), members, parts, strict=True):
        assert next(steps) == Step(claimed=left)
        seen = _recalls(members)
        assert all(now > was for now, was in zip(seen, asked, strict=True))
        assert all(one.pulse().generation > was for one, was in zip(looks, known, strict=True))
        assert ask(post, state) == before
        asked = seen
        one.queue.turn(Work(now=NOW, released=part[:2]))
    assert sum(step.moved for step in steps) == EVENTS
    changed = {"reroute": ("erp", "pending"), "discard": ("default", "discarded")}[name]
    assert {row[1:] for row in ask(post, state)} == {changed}
    assert claims(post) == []
    assert verify(post) == []


def test_what_was_retried_is_no_longer_among_the_claims_of_any_daemon(
    post: Engine, joined: Joined, clock: FakeClock
) -> None:
    """Otherwise a takeover would take it for sent, instead of what was in flight."""
    members, parts = _two(post, joined)
    flying = []
    for one, part in zip(members, parts, strict=True):
        dead, flies = part[:2]
        events = claim(one.queue, dead, flies)
        record(one.queue, *map(refused, events[:1]))
        flying.append(flies)
    assert claims(post) == [part[:2] for part in parts]
    assert retry(post, Selection(), NOW) == 2
    assert claims(post) == [[row] for row in flying]
    third = joined()
    fall_silent(clock, third)
    settle([third])
    received = ask(post, "SELECT id FROM shipper_outbox WHERE maybe_received = 1 ORDER BY id")
    assert received == [(row,) for row in sorted(flying)]
    assert verify(post) == []

"""The protocol of the daemons, explored: every order of its steps, with troubles between any two.

It decides by exhaustion what no run on a server can: that no order of steps lets two daemons send
events of a key at once, forgets what was claimed, or leaves a shard without a daemon. Each planted
bug has to be found by the same search.
"""

from collections import deque
from collections.abc import Iterator

import pytest

from shipper.policy import shares
from tests.store.lease.membership_model import Broken, Model
from tests.store.lease.membership_states import Process, State, canonical

QUIET = ("renewed", "record", "change", "renew", "renewed", "glance", "change", "send")


def _explored(model: Model, daemons: int, shards: int) -> Iterator[State]:
    """Yield every state that can be reached."""
    first = State((Process(),) * daemons, (0,) * shards)
    seen, left = {first}, deque([first])
    while left:
        state = left.popleft()
        yield state
        for step in model.steps(state):
            after = canonical(step.state)
            if after not in seen:
                seen.add(after)
                left.append(after)


def _settled(model: Model, state: State, known: set[State]) -> None:
    """Let all daemons that live go on without trouble, until each has its share."""
    model = Model(model.lane, 0)
    passed: list[State] = []
    for _ in range(200):
        bare = canonical(state)._replace(troubles=0)
        if bare in known:
            break
        passed.append(bare)
        after = _quiet_round(model, state)
        if canonical(after) == canonical(state):
            _expect_shared_out(state)
            break
        state = after
    else:
        raise AssertionError(f"no end: {state}")
    known.update(passed)


def _quiet_round(model: Model, state: State) -> State:
    for who, process in enumerate(state.processes):
        if process.mode == "stalled":
            state = model.step(state, "wake", who) or state
        for name in QUIET:
            if state.processes[who].mode == "in":
                state = model.step(state, name, who) or state
    return state


def _expect_shared_out(state: State) -> None:
    there = [one for one in state.processes if one.mode == "in"]
    assert set(state.rows) >= {one.token for one in there}
    if there:
        sizes = [state.owners.count(one.token) for one in there]
        assert sum(sizes) == len(state.owners), state
        assert max(sizes) - min(sizes) <= 1, state
        assert [len(one.held) for one in there] == sizes
        assert not any(one.gives for one in there)
        assert len(state.rows) == len(there)


@pytest.fixture
def shard_count(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """Have the real rules of the shares share out so many shards."""
    count: int = request.param
    monkeypatch.setattr(shares, "SHARDS", count)
    return count


@pytest.mark.parametrize(
    ("daemons", "shard_count", "lane", "troubles"),
    [(2, 3, 2, 3), (2, 3, 0, 2), (3, 3, 2, 1), (3, 2, 0, 1)],
    indirect=["shard_count"],
)
def test_no_order_of_steps_breaks_an_invariant(
    daemons: int, shard_count: int, lane: int, troubles: int
) -> None:
    """And from every state the shards are shared out again, once the troubles end."""
    model = Model(lane, troubles)
    known: set[State] = set()
    for state in _explored(model, daemons, shard_count):
        _settled(model, state, known)
    assert len(known) > 100


@pytest.mark.parametrize(
    ("bug", "message", "shard_count"),
    [
        ("token not ended", "shard that it doesn't have", 3),
        ("given in flight", "isn't marked", 3),
        ("not recovered", "isn't marked", 3),
        ("own clock", "the chores", 3),
        ("not judged again", "the chores", 3),
        ("judged without the lock", "the chores", 3),
        ("two leaders", "the chores", 3),
        ("numbers kept", "delivery number", 3),
    ],
    indirect=["shard_count"],
)
def test_a_planted_bug_is_found(bug: str, message: str, shard_count: int) -> None:
    """The same search, and the invariant that says what would come of it."""
    with pytest.raises(Broken, match=message):
        for _ in _explored(Model(2, 2, {bug}), 2, shard_count):
            pass

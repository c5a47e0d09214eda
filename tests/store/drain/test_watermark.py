"""The rule of the commit fence, against a model of PostgreSQL's snapshots.

Promise 2 in the guarantees; `test_fence` has the same on a real server.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.store.drain.watermark import Watermark


@dataclass
class _Transaction:
    number: int
    ids: list[int] = field(default_factory=list)


class _Server:
    """PostgreSQL, as far as numbers, ids and snapshots go (procarray.c, GetSnapshotData)."""

    def __init__(self) -> None:
        self.next_number = 700
        self.next_id = 1
        self.last_ended = 699
        self.running: list[_Transaction] = []
        self.visible: set[int] = set()

    def begin(self, _: int) -> None:
        """Give a transaction its number."""
        self.running.append(_Transaction(self.next_number))
        self.next_number += 1

    def insert(self, which: int) -> None:
        """Let a transaction take an id."""
        if self.running:
            self.running[which % len(self.running)].ids.append(self.next_id)
            self.next_id += 1

    def end(self, which: int, *, commits: bool) -> None:
        """Commit a transaction, or roll it back."""
        if self.running:
            transaction = self.running.pop(which % len(self.running))
            self.last_ended = max(self.last_ended, transaction.number)
            self.visible.update(transaction.ids if commits else [])

    def snapshot(self) -> tuple[int, int]:
        """Return the highest visible id and the oldest running transaction."""
        xmax = self.last_ended + 1
        oldest = min((t.number for t in self.running if t.number < xmax), default=xmax)
        return max(self.visible, default=0), oldest

    def may_still_come(self) -> set[int]:
        """Return the ids that open transactions hold."""
        return {row for transaction in self.running for row in transaction.ids}


_which = st.integers(0, 3)
_step = st.one_of(
    st.tuples(st.sampled_from(["begin", "insert", "insert", "commit", "rollback"]), _which),
    st.just(("snapshot", 0)),
    st.just(("number", 0)),
)


def _act(server: _Server, step: str, which: int) -> None:
    match step:
        case "begin":
            server.begin(which)
        case "insert":
            server.insert(which)
        case _:
            server.end(which, commits=step == "commit")


@settings(max_examples=500, deadline=None)
@given(steps=st.lists(_step, max_size=60))
def test_nothing_up_to_the_watermark_can_still_come(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, also between the snapshot and the reading of the next number.

    And it gets there: when all have ended, two looks settle everything.
    """
    server, watermark = _Server(), Watermark()
    taken: tuple[int, int] | None = None
    for step, which in steps:
        if step == "snapshot":
            taken = server.snapshot()
        elif step != "number":
            _act(server, step, which)
        elif taken is not None:
            before = watermark.safe
            watermark.observe(*taken, server.next_number)
            taken = None
            assert watermark.safe >= before
            assert watermark.safe <= max(server.visible, default=0)
        assert min(server.may_still_come(), default=server.next_id) > watermark.safe
    while server.running:
        server.end(0, commits=True)
    for _ in range(2):
        watermark.observe(*server.snapshot(), server.next_number)
    assert watermark.safe == max(server.visible, default=0)
    assert not watermark.is_held_back


@pytest.mark.parametrize("sees_the_younger", [True, False])
def test_the_end_of_the_snapshot_is_not_enough(*, sees_the_younger: bool) -> None:
    """A snapshot ends with the last that has *ended*; a younger one that runs is beyond it."""
    server, watermark = _Server(), Watermark()
    for step, which in [("begin", 0), ("begin", 0), ("insert", 1), ("insert", 0), ("commit", 0)]:
        _act(server, step, which)
    assert server.may_still_come() == {1}
    for _ in range(2):
        xmax = server.last_ended + 1
        watermark.observe(*server.snapshot(), server.next_number if sees_the_younger else xmax)
    assert watermark.safe == (0 if sees_the_younger else 2)

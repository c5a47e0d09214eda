"""The order of ids is settled before it is relied on, whatever transactions overlap."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shipper.store.drain.watermark import Watermark


def test_ids_are_safe_at_once_where_nothing_is_open() -> None:
    """The ordinary case costs no second look."""
    mark = Watermark()
    mark.observe(highest=7, oldest=100, upcoming=100)
    assert (mark.safe, mark.is_held_back) == (7, False)


def test_ids_wait_for_the_transactions_that_were_open_when_they_were_seen() -> None:
    """One of them may still commit a smaller one; those that began later can't."""
    mark = Watermark()
    mark.observe(highest=7, oldest=98, upcoming=100)
    assert (mark.safe, mark.is_held_back) == (0, True)
    mark.observe(highest=9, oldest=99, upcoming=103)
    assert (mark.safe, mark.is_held_back) == (0, True)
    mark.observe(highest=9, oldest=101, upcoming=104)
    assert (mark.safe, mark.is_held_back) == (7, True)
    mark.observe(highest=9, oldest=104, upcoming=104)
    assert (mark.safe, mark.is_held_back) == (9, False)


def test_it_never_goes_back() -> None:
    """Rows that were pruned were seen."""
    mark = Watermark()
    mark.observe(highest=7, oldest=100, upcoming=100)
    mark.observe(highest=0, oldest=90, upcoming=101)
    assert (mark.safe, mark.is_held_back) == (7, False)


@dataclass
class Transaction:
    """One that has written, so it has a number; its ids are visible when it commits."""

    number: int
    ids: list[int] = field(default_factory=list)


class Overlaps(RuleBasedStateMachine):
    """Transactions that take their numbers and ids, and end, in any order.

    What it is fed with is the number that the next transaction gets. That is not PostgreSQL's
    pg_snapshot_xmax, which is one more than the last that *ended*.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mark = Watermark()
        self.next_number = 1
        self.next_id = 1
        self.open: list[Transaction] = []
        self.visible: set[int] = set()

    @rule()
    def begin(self) -> None:
        """Give a transaction its number; its first id comes later."""
        self.open.append(Transaction(self.next_number))
        self.next_number += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Let one of them take an id."""
        data.draw(st.sampled_from(self.open)).ids.append(self.next_id)
        self.next_id += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data(), commits=st.booleans())
    def end(self, data: st.DataObject, *, commits: bool) -> None:
        """Commit one of them, or roll it back."""
        ended = data.draw(st.sampled_from(self.open))
        self.open.remove(ended)
        if commits:
            assert all(row > self.mark.safe for row in ended.ids), "came in below the watermark"
            self.visible.update(ended.ids)

    @rule()
    def observe(self) -> None:
        """Look, as the daemon does."""
        before = self.mark.safe
        oldest = min((tx.number for tx in self.open), default=self.next_number)
        self.mark.observe(max(self.visible, default=0), oldest, self.next_number)
        assert self.mark.safe >= before

    @invariant()
    def nothing_invisible_is_safe(self) -> None:
        """No id up to the watermark can still appear."""
        assert all(row > self.mark.safe for tx in self.open for row in tx.ids)
        assert self.mark.safe in self.visible | {0}

    def teardown(self) -> None:
        """End all: everything visible is safe after two looks."""
        self.open.clear()
        self.observe()
        self.observe()
        assert self.mark.safe == max(self.visible, default=0)
        assert not self.mark.is_held_back


TestOverlaps = Overlaps.TestCase
TestOverlaps.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)

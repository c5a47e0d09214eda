"""The book of claims mirrors its table, and tells after a crash what may have been received."""

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shipper.policy.event import Event
from shipper.store.lease.claims import ClaimBook, dump_ids, first_of_each_lane, load_ids


def _event(row: int, key: str | None = "a", destination: str = "default") -> Event:
    return Event(row, f"e{row}", destination, key, b"")


def test_ids_are_stored_as_json() -> None:
    """In claiming order, which need not be theirs."""
    assert dump_ids(iter([3, 1, 2])) == "[3,1,2]"
    assert load_ids("[3,1,2]") == [3, 1, 2]
    assert load_ids(dump_ids([])) == []


def test_of_each_lane_the_one_claimed_first_may_have_been_received() -> None:
    """Lanes are told apart by destination too, and an event without a key is its own."""
    pending = {
        4: _event(4), 1: _event(1), 2: _event(2, "b"), 3: _event(3, "b"),
        5: _event(5, None), 6: _event(6, None), 7: _event(7, "a", "other"),
    }  # fmt: skip
    claims = [(1, "[9,4,1]"), (2, "[3,2,5]"), (3, "[6,7]")]
    assert first_of_each_lane(claims, pending) == [4, 3, 5, 6, 7]


def test_what_has_ended_since_is_passed_over() -> None:
    """Then its successor may be the one that was sent."""
    assert first_of_each_lane([(1, "[1,2,3]")], {2: _event(2), 3: _event(3)}) == [2]
    assert first_of_each_lane([(1, "[1,2,3]")], {}) == []
    assert first_of_each_lane([], {1: _event(1)}) == []


def test_an_id_claimed_anew_counts_where_it_was_claimed_last() -> None:
    """It was let go in between, so it wasn't in flight then."""
    pending = {1: _event(1), 2: _event(2)}
    assert first_of_each_lane([(1, "[2]"), (2, "[1,2]")], pending) == [1]


def test_a_recorded_id_alone_rewrites_nothing() -> None:
    """Its status tells that it isn't out any more; the last one ends the claim."""
    book = ClaimBook()
    book.add(1, [1, 2])
    assert book.changes([1], []) == ([], {})
    book.remove([1])
    assert book.changes([2], []) == ([1], {})
    book.remove([2, 99])
    assert book.changes([2], [1]) == ([], {})


def test_a_released_id_has_its_claim_written_anew() -> None:
    """Else it would count as sent after a crash."""
    book = ClaimBook()
    book.add(1, [3, 1, 2])
    book.add(2, [4, 5])
    assert book.changes([3], [1, 4, 99]) == ([], {1: "[2]", 2: "[5]"})
    assert book.changes([3], [1, 2]) == ([1], {})
    assert book.changes([], []) == ([], {})


class Book(RuleBasedStateMachine):
    """Claims, ends and releases in any order, with a table beside the book, and crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.book = ClaimBook()
        self.table: dict[int, list[int]] = {}
        self.pending: dict[int, Event] = {}
        self.out: list[int] = []  # claimed and neither ended nor let go, in claiming order
        self.number = 0

    @rule(keys=st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=5))
    def write(self, keys: list[str | None]) -> None:
        """Write events."""
        for key in keys:
            row = len(self.pending) + 1000 * self.number + 1
            while row in self.pending:
                row += 1
            self.pending[row] = _event(row, key)

    @rule(data=st.data())
    def turn(self, data: st.DataObject) -> None:
        """End some, let others go and claim, in one transaction."""
        ended = data.draw(st.sets(st.sampled_from(self.out))) if self.out else set()
        left = [row for row in self.out if row not in ended]
        released = data.draw(st.sets(st.sampled_from(left))) if left else set()
        free = [row for row in self.pending if row not in self.out or row in released]
        claimed = data.draw(st.lists(st.sampled_from(free), unique=True)) if free else []
        over, kept = self.book.changes(ended, released)
        assert set(over).isdisjoint(kept)
        for number in over:
            del self.table[number]
        for number, ids in kept.items():
            assert number in self.table
            self.table[number] = json.loads(ids)
        self.book.remove(ended)
        self.book.remove(released)
        self.number += 1
        if claimed:
            self.book.add(self.number, claimed)
            self.table[self.number] = list(claimed)
        for row in ended:
            del self.pending[row]
        self.out = [row for row in left if row not in released] + claimed

    @invariant()
    def the_table_holds_what_is_out(self) -> None:
        """Each id that is out stands there once, in claiming order; no row is there in vain."""
        rows = [row for number in sorted(self.table) for row in self.table[number]]
        assert [row for row in rows if row in self.pending] == self.out
        assert all(set(ids) & set(self.out) for ids in self.table.values())
        assert all((row in self.book) == (row in self.out) for row in self.pending)

    @invariant()
    def a_crash_finds_the_first_of_each_lane(self) -> None:
        """By the table and the rows alone."""
        first: dict[str | int, int] = {}
        for row in self.out:
            first.setdefault(self.pending[row].lane, row)
        claims = [(number, dump_ids(self.table[number])) for number in sorted(self.table)]
        assert first_of_each_lane(claims, self.pending) == list(first.values())

    @precondition(lambda self: self.out)
    @rule()
    def everything_ends(self) -> None:
        """End all: then nothing is left of any claim."""
        over, kept = self.book.changes(self.out, [])
        assert (sorted(over), kept) == (sorted(self.table), {})
        self.book.remove(self.out)
        for row in self.out:
            del self.pending[row]
        self.out.clear()
        self.table.clear()
        assert self.book.changes(list(range(100)), []) == ([], {})


TestBook = Book.TestCase
TestBook.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

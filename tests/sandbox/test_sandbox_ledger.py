"""The receiver's ledger: what counts as a repeat, as order, as an overlap."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.sandbox.ledger import AMBIGUOUS, Ledger, Recent, Visit, trailing_number

UUID = "2b5c1e0a-7f39-4d0e-9a57-000000000042"


def visit(
    ledger: Ledger, key: str | None, user: str | None = "u", body: bytes = b"{}", status: int = 202
) -> Visit:
    """Record a request that was read whole and processed."""
    entry = ledger.begin(key, user, body, 1.0, lambda: True)
    ledger.process(entry)
    entry.status = status
    ledger.end(entry, 2.0)
    return entry


@pytest.mark.parametrize(
    ("key", "position"),
    [
        ("u17-000042", ("u17-", 42)),
        ("42", ("", 42)),
        ("order4711", ("order", 4711)),
        ("order-", None),
        (UUID, None),
        (UUID.upper(), None),
        ("x" + "9" * 18, ("x", 10**18 - 1)),
        ("u17-٤٢", None),
    ],
)
def test_the_order_number_is_at_the_end_of_the_key(
    key: str, position: tuple[str, int] | None
) -> None:
    """The text before it is the series; a UUID has none, even if it ends in digits."""
    assert trailing_number(key, b"") == position


def test_a_smaller_number_after_a_greater_one_is_a_violation() -> None:
    """It counts against its own user only."""
    ledger = Ledger()
    for key, user in [("a-1", "a"), ("a-3", "a"), ("b-1", "b"), ("a-2", "a"), ("a-4", "a")]:
        visit(ledger, key, user)
    assert ledger.summary().order_violations == 1
    assert (ledger.order_violations_of("a"), ledger.order_violations_of("b")) == (1, 0)
    assert ledger.order_violations_of("unknown") == 0
    assert not ledger.summary().flawless


def test_gaps_and_other_series_are_no_violations() -> None:
    """A dead letter leaves a gap, and orders and views can have numbers of their own."""
    ledger = Ledger()
    for key in ["order-1", "view-100", "order-7", "view-101", "order-8", UUID]:
        visit(ledger, key)
    assert ledger.summary().order_violations == 0
    assert ledger.summary().flawless


def test_the_order_number_can_come_from_the_payload() -> None:
    """`sequence_of` gets key and payload, and returns series and number."""
    ledger = Ledger(lambda _, payload: ("", int(payload)))
    for key, body in [("a", b"2"), ("b", b"2"), ("c", b"1")]:
        visit(ledger, key, body=body)
    assert ledger.summary().order_violations == 1


def test_a_repeat_at_once_is_immediate_and_no_disorder() -> None:
    """The answer was lost, and the same event arrives again before its followers."""
    ledger = Ledger()
    for key in ["u-1", "u-1", "u-1", "u-2"]:
        visit(ledger, key)
    summary = ledger.summary()
    assert (summary.accepted, summary.distinct, summary.repeats) == (4, 2, 2)
    assert (summary.immediate_repeats, summary.late_repeats) == (2, 0)
    assert summary.flawless


@pytest.mark.parametrize("between", ["u-2", None])
def test_a_repeat_after_a_follower_is_late(between: str | None) -> None:
    """Another event of the same user in between makes it late, also one without a key."""
    ledger = Ledger()
    for key in ["u-1", between, "u-1"]:
        visit(ledger, key)
    assert ledger.summary().late_repeats == 1
    assert not ledger.summary().flawless


def test_a_repeat_after_another_users_event_is_immediate() -> None:
    """Users are independent of each other, and so is an event without a user."""
    ledger = Ledger()
    for key, user in [("a-1", "a"), ("b-1", "b"), ("x", None), ("a-1", "a"), ("x", None)]:
        visit(ledger, key, user)
    assert ledger.summary().immediate_repeats == 2
    assert ledger.summary().users == 2


def test_the_same_key_with_other_bytes_is_an_identity_violation() -> None:
    """Same key means same bytes."""
    ledger = Ledger()
    for body in [b"{}", b"{}", b"{ }"]:
        visit(ledger, "u-1", body=body)
    assert ledger.summary().identity_violations == 1
    assert not ledger.summary().flawless


def test_two_requests_of_a_user_at_a_time_overlap() -> None:
    """The second request counts; requests of other users don't matter."""
    ledger = Ledger()
    first = ledger.begin("u-1", "u", b"", 1.0, lambda: True)
    other = ledger.begin("v-1", "v", b"", 1.0, lambda: True)
    second = ledger.begin("u-2", "u", b"", 1.0, lambda: True)
    assert (first.in_flight, other.in_flight, second.in_flight) == (1, 1, 2)
    assert ledger.summary().overlaps == 1
    for entry in [first, second, other]:
        ledger.end(entry, 2.0)
    assert ledger.begin("u-3", "u", b"", 3.0, lambda: True).in_flight == 1


def test_a_request_whose_client_left_is_not_in_flight() -> None:
    """A sender that has closed the connection is allowed to begin anew."""
    ledger = Ledger()
    ledger.begin("u-1", "u", b"", 1.0, lambda: False)
    assert ledger.begin("u-1", "u", b"", 2.0, lambda: True).in_flight == 1
    assert ledger.summary().overlaps == 0


@pytest.mark.parametrize("status", [*sorted(AMBIGUOUS), "html", "redirect", 202, 503])
def test_ambiguous_is_what_never_came_whole(status: int | str) -> None:
    """A complete answer, also a portal's, isn't ambiguous."""
    ledger = Ledger()
    entry = ledger.begin("u-1", "u", b"", 1.0, lambda: True)
    entry.status = status
    ledger.end(entry, 2.0)
    summary = ledger.summary()
    assert summary.ambiguous == (status in AMBIGUOUS)
    assert summary.answers == {str(status): 1}
    assert (summary.requests, summary.accepted) == (1, 0)


def test_events_without_a_key_are_counted_apart() -> None:
    """Without a key a repeat can't be recognised."""
    ledger = Ledger()
    visit(ledger, None)
    visit(ledger, None)
    summary = ledger.summary()
    assert (summary.unkeyed, summary.distinct, summary.repeats) == (2, 0, 0)


ARRIVALS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=60)


@given(ARRIVALS)
def test_the_books_agree_with_counting_by_hand(arrivals: list[tuple[str, int]]) -> None:
    """Every accepted request is a first arrival or a repeat, and order is as the words say."""
    ledger = Ledger()
    for user, number in arrivals:
        visit(ledger, f"{user}-{number}", user)
    firsts = list(dict.fromkeys(arrivals))
    disordered = sum(
        any(other == user and n > number for other, n in firsts[:place])
        for place, (user, number) in enumerate(firsts)
    )
    lanes = [[n for user, n in arrivals if user == lane] for lane in "abc"]
    immediate = sum(a == b for lane in lanes for a, b in pairwise(lane))
    summary = ledger.summary()
    assert summary.accepted == len(arrivals)
    assert summary.distinct == len(firsts)
    assert summary.order_violations == disordered
    assert summary.immediate_repeats == immediate
    assert summary.repeats == len(arrivals) - len(firsts)
    assert sum(ledger.order_violations_of(user) for user in "abc") == disordered


@given(ARRIVALS, st.integers(1, 5))
def test_what_was_used_last_is_remembered_and_memory_is_bounded(
    arrivals: list[tuple[str, int]], size: int
) -> None:
    """At least the last `size` keys are known, at most twice as many are kept."""
    recent: Recent[tuple[str, int], int] = Recent(size)
    for place, key in enumerate(arrivals):
        recent.put(key, place)
        last = list(dict.fromkeys(reversed(arrivals[: place + 1])))[:size]
        kept = {k for k in set(arrivals) if k in recent._young or k in recent._old}
        assert set(last) <= kept
        assert len(kept) <= 2 * size


def test_asking_for_a_key_keeps_it() -> None:
    """A key in use isn't forgotten for keys that came once."""
    recent: Recent[str, int] = Recent(1)
    recent.put("a", 1)
    for other in "bcdef":
        recent.put(other, 0)
        assert recent.get("a") == 1
    assert recent.get("b") is None


def test_a_million_keys_are_told_apart() -> None:
    """The promise of the module: exact for a million; the first is still known after them."""
    recent: Recent[str, str] = Recent(1_000_000)
    for number in range(1_000_000):
        recent.put(f"u-{number}", "")
    assert recent.get("u-0") == ""
    assert recent.get("u-1000000") is None

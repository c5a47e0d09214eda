"""The write contract where PostgreSQL has more than SQLite: transaction numbers, lanes, slots."""

import bisect

import pytest
from sqlalchemy.exc import DBAPIError

from tests.store.outboxes import (
    SqlWriter,
    event,
    insert,
)


def test_a_transaction_has_its_number_before_it_takes_an_id(post: SqlWriter) -> None:
    """The plan evaluates the defaults in this order; the fence of commit order stands on it."""
    plan = post("EXPLAIN (VERBOSE, COSTS OFF) INSERT INTO shipper_outbox (payload) VALUES ('{}')")
    output = next(line for (line,) in plan if "nextval" in line)
    assert 0 < output.index("pg_current_xact_id()") < output.index("nextval(")


def test_a_row_knows_its_transaction_even_in_a_savepoint(post: SqlWriter) -> None:
    """The number of the whole transaction, not of a part of it (hazard P3)."""
    insert(post, "{}")
    with post.connection.begin_nested():
        insert(post, "{}")
    rows = post("SELECT DISTINCT tx::text, pg_current_xact_id()::text FROM shipper_outbox")
    assert len(rows) == 1
    assert rows[0][0] == rows[0][1]


def test_a_derived_key_and_an_equal_supplied_one_are_one_lane(post: SqlWriter) -> None:
    """Of one destination; no key is a lane of its own."""
    insert(post, event("u1"))
    insert(post, "{}", ordering_key="u1")
    insert(post, "{}", ordering_key="u1", destination="other")
    insert(post, "{}")
    lanes = [lane for (lane,) in post("SELECT lane FROM shipper_outbox ORDER BY id")]
    assert lanes[0] == lanes[1] != lanes[2]
    assert lanes[3] is None


def test_lanes_are_spread_over_the_slots(post: SqlWriter) -> None:
    """One slot a lane, and all slots in use when there are many."""
    for number in range(600):
        key = None if number % 2 else f"k{number}"
        insert(post, "{}", ordering_key=key)
    slots = post("SELECT count(DISTINCT slot), min(slot), max(slot) FROM shipper_outbox")
    assert slots[0][0] > 200
    assert slots[0][1] >= 0
    assert slots[0][2] <= 255


def test_an_id_cannot_be_overridden_by_accident(post: SqlWriter) -> None:
    """GENERATED ALWAYS says so."""
    with pytest.raises(DBAPIError, match="id"):
        post("INSERT INTO shipper_outbox (id, payload) VALUES (5, '{}')")


def test_a_json_that_postgres_cannot_hold_deeper_is_refused_by_postgres(post: SqlWriter) -> None:
    """1,500 levels are too many for SQLite, and none of our business here."""
    assert insert(post, "[" * 1500 + "]" * 1500)["ordering_key"] is None


def test_a_payload_that_only_just_fits_is_not_refused_for_its_key(post: SqlWriter) -> None:
    """The trigger has less of the stack left than the cast had; what fails there costs the key."""

    def nested(levels: int) -> str:
        return '{"a":' + "[" * levels + "]" * levels + ',"context":[]}'

    def fits(levels: int) -> bool:
        try:
            post("SELECT CAST(:payload AS json)", payload=nested(levels))
        except DBAPIError:
            return False
        return True

    post("SET LOCAL max_stack_depth = '100kB'")
    most = bisect.bisect_left(range(100_000), True, key=lambda levels: not fits(levels)) - 1
    assert 100 < most < 99_999
    for levels in range(most - 60, most - 20):
        insert(post, nested(levels))

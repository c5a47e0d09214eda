"""Claiming: what is on disk before a byte may leave, and that every byte is as it was written.

Promises 1, 5 and 6 in the guarantees.
"""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from shipper.clock import parse_iso
from shipper.contract.validation import MAX_PAYLOAD_BYTES
from shipper.policy.event import Event
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Work
from shipper.store.lease.claims import ClaimBook, first_of_each_lane, load_ids
from tests.store.daemons import NOW, column, write
from tests.store.outboxes import VALID
from tests.store.shipping import (
    accepted,
    ask,
    claim,
    claims,
    failed,
    record,
    refused,
    run,
    settled,
    table,
    taken,
)


@pytest.fixture
def other(database_url: str) -> Iterator[Engine]:
    """Give a second connection to the same outbox."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give an outbox on SQLite."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


def _ids(events: list[Event]) -> list[int]:
    return [event.id for event in events]


# -- the claim ------------------------------------------------------------------------------------


def test_a_claim_is_there_for_everybody_before_its_events_are(
    engine: Engine, other: Engine
) -> None:
    """When the turn returns, another connection sees which events may be sent from now on."""
    ids = write(engine, "a", "b", None)
    queue = taken(engine)
    assert claims(other) == []
    assert _ids(claim(queue, *ids)) == ids
    assert claims(other) == [ids]


def test_events_come_in_the_order_in_which_they_were_asked_for(engine: Engine) -> None:
    """Also where one statement can't hold all the ids, and the claim has the same order."""
    ids = write(engine, *["a"] * 300)
    asked = [*ids[200:], *reversed(ids[:200])]
    assert _ids(claim(taken(engine), *asked)) == asked
    assert claims(engine) == [asked]


def test_only_what_is_pending_is_claimed(engine: Engine) -> None:
    """What has ended, or was never there, is left out; where nothing is left there is no claim."""
    queue = taken(engine)
    ended, dead, alive = claim(queue, *write(engine, "a", "b", "c"))
    record(queue, accepted(ended), refused(dead))
    assert _ids(claim(queue, ended.id, 4711, alive.id, dead.id)) == [alive.id]
    assert claim(queue, ended.id, 4711) == []
    assert claims(engine) == [[alive.id]]


def test_a_claim_is_cut_where_its_bytes_would_be_too_many(engine: Engine) -> None:
    """What comes is a beginning of what was asked for: a small event jumps over no large one."""
    sizes = [40, 50, 20, 5]
    ids = [write(engine, "a", payload=json.dumps("x" * (size - 2)))[0] for size in sizes]
    queue = taken(engine, bytes_per_claim=100)
    assert _ids(claim(queue, *ids)) == ids[:2]
    assert claims(engine) == [ids[:2]]
    assert _ids(claim(queue, *ids[2:])) == ids[2:]


def test_an_event_that_is_larger_than_a_claim_comes_alone(engine: Engine) -> None:
    """At least one is claimed, or the drain would stand still."""
    ids = write(engine, "a", "a", payload=json.dumps("x" * 1000))
    assert _ids(claim(taken(engine, bytes_per_claim=10), *ids)) == ids[:1]


def test_an_event_comes_with_what_is_known_of_its_tries(engine: Engine) -> None:
    """Failures, a maybe, and an operator's wish go with it; a fresh one has none of them."""
    queue = taken(engine)
    [fresh] = claim(queue, *write(engine, "a"))
    assert (fresh.attempts, fresh.maybe_received, fresh.failed, fresh.manual) == (
        0,
        False,
        False,
        False,
    )
    record(queue, failed(fresh, maybe=True))
    run(engine, "UPDATE shipper_outbox SET manual = 1")
    [again] = claim(queue, fresh.id)
    assert (again.attempts, again.maybe_received, again.failed, again.manual) == (
        1,
        True,
        True,
        True,
    )
    assert again.event_id == column(engine, "event_id", fresh.id)
    assert (again.destination, again.ordering_key) == ("default", "a")


def test_an_event_knows_when_it_was_written(engine: Engine) -> None:
    """To a thousandth of a second, whatever the database has for a time."""
    [event] = write(engine, "a")
    run(engine, "UPDATE shipper_outbox SET created_at = '2026-11-23T08:15:00.123Z'")
    [claimed] = claim(taken(engine), event)
    assert abs(claimed.created_at - parse_iso("2026-11-23T08:15:00.123Z")) < 0.001


def test_a_time_that_is_none_stops_nobody(lite: Engine) -> None:
    """Somebody wrote it there by hand; nobody knows then."""
    [event] = write(lite, "a")
    run(lite, "UPDATE shipper_outbox SET created_at = 'yesterday'")
    [claimed] = claim(taken(lite), event)
    assert claimed.created_at == 0.0


def test_a_turn_without_work_is_no_transaction(engine: Engine) -> None:
    """An idle daemon writes nothing."""
    queue = taken(engine)
    before = table(engine, "lease")
    assert queue.turn(Work(now=NOW)) == []
    assert table(engine, "lease") == before


# -- the payload's bytes --------------------------------------------------------------------------

TEXTS = {
    **VALID,
    "white space everywhere": '\r\n{ "b" :\t1 ,\n\n"a": [ 1.0 , 1.00, 1e0 ] }  ',
    "equal names": '{"a":1,"a":2,"b":{"a":3,"a":3}}',
    "escapes that needn't be": '{"\\u0061":"\\u00e4ä\\/\\u2028\u2028"}',
    "a NUL escape": '"\\u0000"',
    "beyond the basic plane": '"\\ud83d\\ude80🚀"',
    "a number that no float holds": "[1e400, 0.1000000000000000055511151231257827]",
}  # fmt: skip


def test_a_payload_is_byte_for_byte_what_was_written(engine: Engine) -> None:
    """Whatever valid JSON it is, it leaves as it came."""
    small = [text for text in TEXTS.values() if len(text.encode()) <= MAX_PAYLOAD_BYTES]
    written = {write(engine, "a", payload=text)[0]: text.encode() for text in small}
    queue = taken(engine, bytes_per_claim=1 << 30)
    assert {event.id: event.payload for event in claim(queue, *written)} == written


@pytest.mark.parametrize("size", [MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1, 3 * MAX_PAYLOAD_BYTES])
def test_of_a_payload_that_is_too_large_only_so_much_is_loaded(engine: Engine, size: int) -> None:
    """One byte more than may be sent tells that it is too much; the cut may be in a character."""
    payload = '"a' + "ü" * ((size - 4) // 2) + "x" * (size % 2) + 'x"'
    [event] = claim(taken(engine), *write(engine, "a", payload=payload))
    assert len(payload.encode()) == size
    assert event.payload == payload.encode()[: MAX_PAYLOAD_BYTES + 1]


def test_bytes_that_are_no_utf8_stop_nobody(lite: Engine) -> None:
    """An event with such a payload, key and event_id is claimed among the others."""
    before, after = write(lite, "a")[0], 3
    _write_bytes(lite, payload=b'"\xff"', key=b"k\xfe", event_id=b"e\xfd\xed\xa0\x80")
    write(lite, "a")
    events = claim(taken(lite), before, 2, after)
    assert _ids(events) == [before, 2, after]
    assert events[1].payload == b'"\xff"'
    assert events[1].ordering_key == b"k\xfe".decode("utf-8", "surrogateescape")
    assert events[1].event_id == b"e\xfd\xed\xa0\x80".decode("utf-8", "surrogateescape")


def test_a_lane_whose_name_is_no_utf8_is_one_all_the_same(lite: Engine) -> None:
    """It can be looked up, its events can fail, die and hold it, and all of that is written."""
    for number in range(3):
        _write_bytes(lite, payload=b"{}", key=b"k\xfe", event_id=b"e\xfd%d" % number)
    write(lite, "k\ufffd", "k")
    queue, looks = taken(lite), settled(Looks(lite))
    first, second = claim(queue, 1, 2)
    page = looks.look(Look("lane", "default", 10, lane=first.lane))
    assert [row.id for row in page] == [1, 2, 3]
    assert {row.lane for row in page} == {first.lane}
    record(queue, failed(first))
    record(queue, refused(second, holds_key=True))
    assert looks.holds({"default": [str(first.lane)]}).keys == {"default": {first.ordering_key}}
    kept = "SELECT CAST(event_id AS BLOB) FROM"
    assert ask(lite, f"{kept} shipper_attempt") == [(b"e\xfd0",), (b"e\xfd1",)]
    assert ask(lite, f"{kept} shipper_hold") == [(b"e\xfd1",)]


def _write_bytes(engine: Engine, *, payload: bytes, key: bytes, event_id: bytes) -> None:
    with writing(engine) as tx:
        tx.execute(
            text(
                "INSERT INTO shipper_outbox (payload, ordering_key, event_id) VALUES"
                " (CAST(:payload AS TEXT), CAST(:key AS TEXT), CAST(:event_id AS TEXT))"
            ),
            {"payload": payload, "key": key, "event_id": event_id},
        )


# -- letting go -----------------------------------------------------------------------------------


def test_a_claim_ends_with_its_last_event(engine: Engine) -> None:
    """As long as one of it may be under way, the claim is there."""
    queue = taken(engine)
    first, second, third = claim(queue, *write(engine, "a", "b", "c"))
    record(queue, accepted(first), refused(second))
    assert third.id in claims(engine)[0]
    record(queue, failed(third))
    assert third.id in claims(engine)[0]
    record(queue, accepted(third))
    assert claims(engine) == []


def test_what_was_let_go_is_claimed_no_more(engine: Engine) -> None:
    """It never left, so a crash from now on says nothing about it."""
    queue = taken(engine)
    ids = _ids(claim(queue, *write(engine, "a", "b", "c")))
    queue.turn(Work(now=NOW, released=[ids[1], 4711]))
    assert claims(engine) == [[ids[0], ids[2]]]
    queue.turn(Work(now=NOW, released=[ids[2], ids[0]], wanted=[ids[0]]))
    assert claims(engine) == [[ids[0]]]


def test_what_is_claimed_anew_is_claimed_once(engine: Engine) -> None:
    """Its older claim doesn't wait for it for ever."""
    queue = taken(engine)
    first, second = claim(queue, *write(engine, "a", "b"))
    record(queue, failed(first))
    assert _ids(claim(queue, first.id)) == [first.id]
    assert claims(engine) == [[second.id], [first.id]]


@given(st.data())
def test_the_claims_on_disk_name_whatever_is_out(data: st.DataObject) -> None:
    """Whatever order events are claimed, ended and let go in; a claim that is over is not there."""
    book, disk = ClaimBook(), dict[int, list[int]]()
    out: set[int] = set()
    free = set(range(8))
    for number in range(data.draw(st.integers(1, 12))):
        ended = data.draw(st.sets(st.sampled_from(sorted(out)))) if out else set()
        rest = out - ended
        released = data.draw(st.sets(st.sampled_from(sorted(rest)))) if rest else set()
        over, kept = book.changes(ended, released)
        for gone in over:
            del disk[gone]
        disk.update((claimed, load_ids(ids)) for claimed, ids in kept.items())
        book.remove(ended | released)
        out -= ended | released
        free |= released
        wanted = data.draw(st.lists(st.sampled_from(sorted(free)), unique=True)) if free else []
        if wanted:
            disk[number] = wanted
            book.add(number, wanted)
        out.update(wanted)
        free -= set(wanted)
        named = [row for ids in disk.values() for row in ids]
        assert out <= set(named)
        assert not free & set(named)
        assert all(out & set(ids) for ids in disk.values())


@given(
    st.lists(st.lists(st.integers(0, 9), unique=True, min_size=1), max_size=5),
    st.sets(st.integers(0, 9)),
)
def test_of_each_lane_the_first_that_was_claimed_may_have_been_received(
    claimed: list[list[int]], pending: set[int]
) -> None:
    """Exactly one of each lane that has any; of two claims of one event the later counts."""
    events = {row: Event(row, "", "d", f"k{row % 3}", b"") for row in pending}
    order = [row for ids in claimed for row in ids]
    last = {row: place for place, row in enumerate(order) if row in pending}
    expected = {
        min((row for row in last if row % 3 == lane), key=lambda row: last[row])
        for lane in {row % 3 for row in last}
    }
    rows = [(number, json.dumps(ids)) for number, ids in enumerate(claimed)]
    found = first_of_each_lane(rows, events)
    assert set(found) == expected
    assert len(found) == len(expected)

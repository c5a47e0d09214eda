"""Recording: what became of an event is written once, wholly, and to nothing else.

Promise 1 in the guarantees.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from shipper.policy.event import Event
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import HistoryRow, LinkRow, Record, Work
from shipper.store.drain.queue import Queue
from shipper.store.drain.record import ATTEMPTS_KEPT
from shipper.store.drain.tries import ERROR_CHARS
from tests.store.daemons import NOW, write
from tests.store.shipping import (
    TRY,
    accepted,
    claim,
    claims,
    event_row,
    failed,
    record,
    refused,
    run,
    table,
    taken,
)


def _changes(engine: Engine, row: int, act: Callable[[], None]) -> dict[str, Any]:
    before = event_row(engine, row)
    act()
    return {name: new for name, new in event_row(engine, row).items() if new != before[name]}


# -- the columns ----------------------------------------------------------------------------------


def test_a_delivery_is_written_with_its_time_and_its_number(engine: Engine) -> None:
    """And nothing else of the row changes."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    assert _changes(engine, event.id, lambda: record(queue, accepted(event))) == {
        "status": "delivered",
        "delivered_at": NOW,
        "last_status_code": 202,
        "delivery_number": 1,
        "tries": 1,
    }


def test_a_dead_letter_keeps_its_reason(engine: Engine) -> None:
    """It has a number of its own, but no time of delivery."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    assert _changes(engine, event.id, lambda: record(queue, refused(event))) == {
        "status": "dead",
        "last_status_code": 400,
        "last_error": "http-400: HTTP 400",
        "delivery_number": 1,
        "tries": 1,
    }


def test_an_event_that_waits_stays_pending(engine: Engine) -> None:
    """Its budget, its time and its maybe are written; it has no number."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    late = failed(event, 7.25, maybe=True)
    assert _changes(engine, event.id, lambda: record(queue, late)) == {
        "attempts": 1,
        "next_attempt_at": NOW + 7.25,
        "last_status_code": 500,
        "last_error": "http-500: HTTP 500",
        "maybe_received": 1,
        "tries": 1,
    }


def test_a_delivery_wipes_out_the_failures_before_it(engine: Engine) -> None:
    """Nothing in the row speaks of an error any more, but how often it failed and was tried."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    record(queue, failed(event, 7.25, maybe=True))
    [event] = claim(queue, event.id)
    record(queue, accepted(event))
    row = event_row(engine, event.id)
    assert (row["attempts"], row["tries"], row["maybe_received"]) == (1, 2, 0)
    assert (row["last_error"], row["next_attempt_at"]) == (None, None)


@pytest.mark.parametrize("outcome", [accepted, refused, failed])
def test_a_try_that_was_asked_for_is_asked_for_once(
    engine: Engine, outcome: Callable[[Event], Record]
) -> None:
    """Whatever came of it, the next one is no operator's."""
    queue = taken(engine)
    [row] = write(engine, "a")
    run(engine, "UPDATE shipper_outbox SET manual = 1")
    [event] = claim(queue, row)
    record(queue, outcome(event))
    assert event_row(engine, row)["manual"] == 0


def test_an_error_is_kept_as_far_as_it_can_be_read(engine: Engine) -> None:
    """A bound on what a row may become, whatever the receiver says."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    record(queue, refused(event, error="ü" * 5000))
    assert event_row(engine, event.id)["last_error"] == "ü" * ERROR_CHARS


# -- what must not be touched ---------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [accepted, refused, failed])
@pytest.mark.parametrize("status", ["delivered", "dead", "discarded"])
def test_an_outcome_that_comes_too_late_changes_nothing(
    engine: Engine, status: str, outcome: Callable[..., Record]
) -> None:
    """An event that isn't pending is left alone: no row, no count, no history, no hold."""
    queue = taken(engine)
    late, other = claim(queue, *write(engine, "a", "b"))
    run(
        engine,
        f"UPDATE shipper_outbox SET status = '{status}', delivered_at = created_at,"
        " delivery_number = 77 WHERE id = :id",
        id=late.id,
    )
    before = event_row(engine, late.id)
    record(queue, outcome(late, history=TRY, holds_key=True), accepted(other))
    assert event_row(engine, late.id) == before
    assert event_row(engine, other.id)["status"] == "delivered"
    [counts] = table(engine, "destination")
    assert (counts["delivered"], counts["dead"]) == (1, 0)
    assert table(engine, "attempt") == table(engine, "hold") == []
    assert claims(engine) in ([], [[late.id, other.id]])


def test_an_event_that_was_deleted_is_not_counted(engine: Engine) -> None:
    """Somebody took it away while it was out; the others of its turn are recorded."""
    queue = taken(engine)
    gone, stays = claim(queue, *write(engine, "a", "b"))
    run(engine, "DELETE FROM shipper_outbox WHERE id = :id", id=gone.id)
    record(queue, accepted(gone, history=TRY), refused(stays))
    [counts] = table(engine, "destination")
    assert (counts["delivered"], counts["dead"]) == (0, 1)
    assert [row["outbox_id"] for row in table(engine, "attempt")] == [stays.id]


# -- the history ----------------------------------------------------------------------------------


def test_a_try_is_remembered_with_all_that_is_known_of_it(engine: Engine) -> None:
    """One row, under the event's own name."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    attempt = HistoryRow(NOW - 2.5, 2500, "http-503", 503, "HTTP 503", "<html>", manual=True)
    record(queue, failed(event, history=attempt))
    [row] = table(engine, "attempt")
    assert row.pop("id") > 0
    assert row == {
        "outbox_id": event.id,
        "event_id": event.event_id.encode()
        if isinstance(row["event_id"], bytes)
        else event.event_id,
        "started_at": NOW - 2.5,
        "duration_ms": 2500,
        "outcome": "http-503",
        "status_code": 503,
        "error": "HTTP 503",
        "response_excerpt": "<html>",
        "manual": 1,
    }


def test_a_success_at_the_first_try_leaves_no_history(engine: Engine) -> None:
    """What went as it should needs no row."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    record(queue, accepted(event))
    assert table(engine, "attempt") == []


def test_of_a_long_history_the_newest_tries_are_kept(engine: Engine) -> None:
    """So many for each event, and another event's are its own."""
    queue = taken(engine)
    event, other = claim(queue, *write(engine, "a", "b"))
    record(queue, failed(other))
    for number in range(ATTEMPTS_KEPT + 3):
        attempt = HistoryRow(NOW, number, "http-500", 500, None, None, manual=False)
        record(queue, failed(event, history=attempt))
    kept = [row["duration_ms"] for row in table(engine, "attempt") if row["outbox_id"] == event.id]
    assert kept == list(range(3, ATTEMPTS_KEPT + 3))
    assert len(table(engine, "attempt")) == ATTEMPTS_KEPT + 1


# -- holds and links ------------------------------------------------------------------------------


def test_a_dead_letter_can_hold_its_key(engine: Engine) -> None:
    """Once, by the one that died first, and only its own key."""
    queue = taken(engine)
    first, second, keyless = claim(queue, *write(engine, "a", "a", None))
    for event in (first, second, keyless):
        record(queue, refused(event, holds_key=True))
    [hold] = table(engine, "hold")
    assert (hold["destination"], hold["ordering_key"]) == ("default", "a")
    assert (hold["cause"], hold["event_id"], hold["since"]) == ("dead_letter", first.event_id, NOW)
    assert Looks(engine).holds({"default": ["a", "b"]}).keys == {"default": {"a"}}


def test_an_operators_hold_stays_an_operators(engine: Engine) -> None:
    """The letter that dies meanwhile doesn't take it over."""
    queue = taken(engine)
    [event] = claim(queue, *write(engine, "a"))
    run(
        engine,
        "INSERT INTO shipper_hold (destination, ordering_key, cause)"
        " VALUES ('default', 'a', 'operator')",
    )
    record(queue, refused(event, holds_key=True))
    assert [hold["cause"] for hold in table(engine, "hold")] == ["operator"]


@pytest.fixture
def queue(engine: Engine) -> Iterator[Queue]:
    """Give a queue that has taken the outbox."""
    queue = taken(engine)
    yield queue
    queue.release()


@pytest.mark.parametrize("held", [0, 1])
def test_a_links_state_is_stored_and_leaves_the_rest_alone(
    engine: Engine, queue: Queue, held: int
) -> None:
    """Neither the counters nor an operator's hold, and since when, are the link's business."""
    queue.turn(Work(now=NOW, links=[LinkRow("default", "ready", None, NOW, None)]))
    counts = "delivered = 3, dead = 2, purged = 1"
    if engine.dialect.name == "postgresql":
        counts += f", since = to_timestamp({NOW})"
    run(engine, f"UPDATE shipper_destination SET held = {held}, {counts}")
    down = LinkRow(
        "default", "offline", "refused", NOW + 1, NOW + 2.5,
        failures=7, last_error="refused: nothing listens", failing_since=NOW - 5,
    )  # fmt: skip
    queue.turn(Work(now=NOW + 3, links=[down]))
    if engine.dialect.name == "postgresql":
        # It is what this daemon sees; once it has ended, it is what is known of the destination.
        [seen] = table(engine, "link")
        assert (seen["token"], seen["name"]) == (queue.token, "default")
        assert (seen["state"], seen["since"], seen["updated_at"]) == ("offline", NOW + 1, NOW + 3)
        [counters] = table(engine, "destination")
        assert (counters["held"], counters["delivered"]) == (held, 3)
        queue.release()
        assert table(engine, "link") == []
    assert table(engine, "destination") == [
        {
            "name": "default",
            "state": "offline",
            "reason": "refused",
            "since": NOW if held else NOW + 1,
            "next_try_at": NOW + 2.5,
            "held": held,
            "delivered": 3,
            "dead": 2,
            "discarded": 0,
            "purged": 1,
            "updated_at": NOW + 3,
            "releases": 0,
            "failures": 7,
            "last_error": "refused: nothing listens",
            "failing_since": NOW - 5,
            "recalls": 0,
        }
    ]

"""What `shipper top` shows beside the counts: a few rows, read by the ends of indexes."""

import pytest
from sqlalchemy import Engine, text

from shipper.store.db.engine import open_engine
from shipper.store.operate import hold
from shipper.store.operate.enqueue import NewEvent, enqueue
from shipper.store.report.events import last_answers
from shipper.store.report.top import NEWEST_DEAD, glance
from tests.store.daemons import NOW

EVENT = '{"type":"view","view":{}}'


def put(engine: Engine, *keys: str | None, destination: str = "default") -> None:
    """Write an event for each key."""
    enqueue(engine, [NewEvent(EVENT, destination, key, None) for key in keys])


def kill(engine: Engine, cause: str, first: int, last: int) -> None:
    """Make dead letters of what lies between two ids."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE shipper_outbox SET status = 'dead', last_error = :error"
                " WHERE id BETWEEN :first AND :last"
            ),
            {"error": f"{cause}: because", "first": first, "last": last},
        )


def test_it_shows_who_waits_longest(engine: Engine) -> None:
    """At most five, the first written first, of this destination alone."""
    put(engine, "x", destination="other")
    put(engine, None, *"abcdef")
    seen = glance(engine, "default")
    assert [event.key for event in seen.oldest] == [None, "a", "b", "c", "d"]
    assert [event.error for event in seen.oldest] == [None] * 5
    assert seen.held == ()
    assert seen.causes == ()


def test_it_shows_what_was_refused(engine: Engine) -> None:
    """By the word that the last error begins with, the most first; none of another destination."""
    put(engine, *["k"] * 9)
    kill(engine, "http-422", 1, 2)
    kill(engine, "invalid", 3, 7)
    put(engine, "k", destination="other")
    kill(engine, "http-400", 10, 10)
    assert glance(engine, "default").causes == (("invalid", 5), ("http-422", 2))


def test_it_looks_at_the_newest_dead_letters_only(engine: Engine) -> None:
    """However many there are, a look takes no longer."""
    put(engine, *["k"] * (NEWEST_DEAD + 10))
    kill(engine, "http-422", 1, 50)
    kill(engine, "invalid", 51, NEWEST_DEAD + 10)
    assert dict(glance(engine, "default").causes) == {"invalid": NEWEST_DEAD - 40, "http-422": 40}


def test_it_shows_which_keys_are_held(engine: Engine) -> None:
    """Those held longest first, five at most."""
    for key in "gfedcba":
        hold.hold_key(engine, "default", key, NOW)
    hold.hold_key(engine, "other", "x", NOW)
    assert glance(engine, "default").held == tuple("gfedc")


@pytest.mark.parametrize("question", ["'pending'", "'dead'"])
def test_a_look_scans_no_table(sqlite_url: str, question: str) -> None:
    """SQLite says how it would find the rows: by the destination, in an index."""
    from shipper.store.db.dialect import SQLITE
    from shipper.store.report import top as module

    engine = open_engine(sqlite_url)
    statement = module._DEAD if "dead" in question else module._pending(SQLITE)
    with engine.connect() as connection:
        plan = connection.execute(
            text(f"EXPLAIN QUERY PLAN {statement.text}"), {"name": "d", "few": 5, "dead": 5}
        )
        [step] = [row.detail for row in plan]
    engine.dispose()
    assert "SEARCH shipper_outbox USING INDEX shipper_outbox_" in step


def test_the_last_words_are_those_of_the_receiver(engine: Engine) -> None:
    """Of the last try; where it said nothing, what went wrong."""
    put(engine, "a", "b", "c")
    kill(engine, "http-422", 1, 2)
    with engine.begin() as connection:
        for said in ("'too long'", "'no such sku'"):
            connection.execute(
                text(
                    "INSERT INTO shipper_attempt (outbox_id, event_id, started_at, duration_ms,"
                    f" outcome, response_excerpt, manual)"
                    f" VALUES (1, 'e', CURRENT_TIMESTAMP, 1, 'x', {said}, 0)"
                )
            )
    assert last_answers(engine, [1, 2, 3, 9]) == {1: "no such sku", 2: "http-422: because"}

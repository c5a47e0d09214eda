"""What receivers said last, one line of it."""

import pytest
from sqlalchemy import Engine

from shipper.store.saying import LINE_CHARS, last_words
from tests.store.daemons import Daemon, write
from tests.store.shipping import run


@pytest.mark.parametrize(
    ("excerpt", "line"),
    [
        ('{"message":"order.id is missing"}', '{"message":"order.id is missing"}'),
        ("two\nlines  \x1b[2J\x07", "two lines [2J"),
        ("x" * 500, "x" * (LINE_CHARS - 1) + "…"),
        ("", "http-400: HTTP 400"),
        (None, "http-400: HTTP 400"),
    ],
)
def test_the_receivers_own_words_are_told(engine: Engine, excerpt: str | None, line: str) -> None:
    """On one line that a terminal can show; where it said nothing, what we say of it."""
    [row] = write(engine, "a")
    Daemon(engine).bury(row)
    run(engine, "UPDATE shipper_attempt SET response_excerpt = :words", words=excerpt)
    assert last_words(engine, [row]) == {row: line}


def test_of_several_tries_the_last_one_counts(engine: Engine) -> None:
    """It is the one that an event died of; who was never tried has nothing to tell."""
    first, second = write(engine, "a", "b")
    Daemon(engine).bury(first)
    run(
        engine,
        "INSERT INTO shipper_attempt"
        " (outbox_id, event_id, started_at, duration_ms, outcome, manual, response_excerpt)"
        " SELECT outbox_id, event_id, started_at, 1, 'http-422', manual, 'last words'"
        " FROM shipper_attempt",
    )
    assert last_words(engine, [first, second]) == {first: "last words", second: ""}


def test_without_a_try_it_is_told_what_it_died_of(engine: Engine) -> None:
    """History may have been cut; the reason stays with the event."""
    [row] = write(engine, "a")
    Daemon(engine).bury(row, error="invalid: no type")
    run(engine, "DELETE FROM shipper_attempt")
    assert last_words(engine, [row]) == {row: "invalid: no type"}

"""What is held, as `hold --list` has it."""

import pytest
from sqlalchemy import Engine

from shipper.store.operate import hold
from shipper.store.report import holds
from shipper.store.report.holds import held, keys_held, waiting
from tests.store.daemons import NOW, Daemon, tamper, write

_MANY = {
    "sqlite": (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
        " INSERT INTO shipper_outbox (payload, ordering_key) SELECT '{{}}', 'hot' FROM n"
    ),
    "postgresql": (
        "INSERT INTO shipper_outbox (payload, ordering_key)"
        " SELECT '{{}}', 'hot' FROM generate_series(1, {count})"
    ),
}


def test_everything_that_is_held_is_listed(engine: Engine) -> None:
    """Destinations first, then keys in the order in which they were held; by whom, and how many."""
    first, *_ = write(engine, "a", "a", "a", "b")
    daemon = Daemon(engine, "default")
    daemon.bury(first, holds_key=True)
    hold.hold_key(engine, "default", "nobody's", NOW + 1)
    hold.hold_destination(engine, "default", NOW + 2)
    found, total = held(engine, 50)
    assert total == 3
    assert [(h.ordering_key, h.cause, h.since, h.pending) for h in found] == [
        (None, "operator", NOW + 2, 3),
        ("a", "dead_letter", NOW, 2),
        ("nobody's", "operator", NOW + 1, 0),
    ]
    assert [bool(h.event_id) for h in found] == [False, True, False]


def test_nothing_held_is_an_empty_list(engine: Engine) -> None:
    """And no failure."""
    assert held(engine, 50) == ([], 0)


def test_the_list_is_bounded_and_says_how_many_there_are(engine: Engine) -> None:
    """One of thousands of keys is no list for a person."""
    for number in range(5):
        hold.hold_key(engine, "default", f"k{number}", NOW)
    found, total = held(engine, 2)
    assert ([h.ordering_key for h in found], total) == (["k0", "k1"], 5)


@pytest.mark.parametrize("key", ["ä\x1b[2J", "a'b\"c", "x" * 255, " "])
def test_any_key_is_found_as_it_was_written(engine: Engine, key: str) -> None:
    """As a person wrote it."""
    write(engine, key, key, "other")
    hold.hold_key(engine, "default", key, NOW)
    [found], _ = held(engine, 1)
    assert (found.ordering_key, found.pending) == (key, 2)
    assert waiting(engine, "default", key) == 2
    assert waiting(engine, "elsewhere", key) == 0


def test_what_waits_is_counted_up_to_a_bound(engine: Engine) -> None:
    """One hot key must not make the list slow."""
    tamper(engine, _MANY[engine.dialect.name].format(count=holds.COUNTED + 5))
    hold.hold_key(engine, "default", "hot", NOW)
    [found], _ = held(engine, 1)
    assert found.pending == holds.COUNTED


def test_the_keys_of_a_destination_are_found_beside_many_of_another(engine: Engine) -> None:
    """However many others are held, and for longer."""
    for number in range(25):
        hold.hold_key(engine, "default", f"u{number}", NOW)
    for name in ("first", "second"):
        hold.hold_key(engine, "erp", name, NOW + 1)
    found, total = keys_held(engine, "erp", 1)
    assert [(one.destination, one.ordering_key) for one in found] == [("erp", "first")]
    assert total == 2
    assert keys_held(engine, "nowhere", 3) == ([], 0)

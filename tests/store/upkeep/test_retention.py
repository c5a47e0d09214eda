"""Retention deletes what is over and nothing else, and the books balance at every moment."""

from collections import Counter
from dataclasses import replace
from math import inf

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.event import listen, remove

from shipper.store.db.batches import BATCH_SECONDS
from shipper.store.db.selection import Selection
from shipper.store.operate.dead_letters import discard, retry
from shipper.store.operate.hold import release_key
from shipper.store.report.verify import verify
from shipper.store.upkeep import retention
from shipper.store.upkeep.retention import BatchSize, Cutoffs, EndedGroup, due, prune
from shipper.store.upkeep.times import newest
from tests.store.daemons import NOW, Daemon, tamper, write
from tests.store.shipping import ask, run

DAY = 86400.0
# What the daemon of these tests does happens at NOW; the database writes at some time before this.
LATER = Cutoffs(NOW + 36500 * DAY, NOW + 36500 * DAY)
DELIVERED_ONLY = replace(LATER, dead=None)


def _still() -> float:
    return 0.0


def _prune(engine: Engine, cutoffs: Cutoffs) -> Counter[EndedGroup]:
    return sum(prune(engine, cutoffs, _still), Counter())


def _left(engine: Engine) -> dict[int, str]:
    rows = ask(engine, "SELECT id, status FROM shipper_outbox")
    return {row[0]: row[1] for row in rows}


def _counters(engine: Engine) -> tuple[int, ...]:
    names = "delivered, dead, discarded, purged"
    [found] = ask(engine, f"SELECT {names} FROM shipper_destination WHERE name = 'default'")
    return found


@pytest.fixture
def shop(engine: Engine) -> Engine:
    """Give an outbox with two delivered events, two dead, one discarded, two pending."""
    ids = write(engine, "a", "b", "c", "d", "e", "f", None)
    daemon = Daemon(engine)
    daemon.deliver(*ids[:2])
    daemon.bury(*ids[2:5])
    discard(engine, Selection(ids=(ids[4],)), NOW)
    daemon.claim(ids[5])
    return engine


# -- what goes and what stays ---------------------------------------------------------------------


def test_what_is_over_goes_and_what_is_pending_stays(shop: Engine) -> None:
    """Delivered, discarded and, where it is wanted, dead ones."""
    gone = _prune(shop, LATER)
    assert gone == {
        EndedGroup("default", "delivered"): 2,
        EndedGroup("default", "discarded"): 1,
        EndedGroup("default", "dead"): 2,
    }
    assert _left(shop) == {6: "pending", 7: "pending"}
    assert verify(shop) == []


def test_dead_letters_stay_unless_told(shop: Engine) -> None:
    """The default: somebody has to look at them."""
    _prune(shop, DELIVERED_ONLY)
    assert _left(shop) == {3: "dead", 4: "dead", 6: "pending", 7: "pending"}
    assert _counters(shop) == (0, 2, 0, 3)
    assert verify(shop) == []


def test_nothing_goes_before_its_time(shop: Engine) -> None:
    """Delivered ones count from their delivery, the others from their last try."""
    assert _prune(shop, Cutoffs(NOW, NOW)) == {}
    assert len(_left(shop)) == 7


def test_what_is_stamped_beyond_every_clock_goes_too(shop: Engine) -> None:
    """A clock that ran ahead wrote it; who gives no such time keeps it.

    On a server it stays: another machine can have written it just now.
    """
    past = NOW - 30 * DAY
    assert _prune(shop, Cutoffs(past, past)) == {}
    if shop.dialect.name == "postgresql":
        ahead = Cutoffs(past, past, past, past)
        assert due(shop, ahead) == {}
        assert _prune(shop, ahead) == {}
        return
    assert due(shop, Cutoffs(past, past, NOW - 1)) == {
        EndedGroup("default", "delivered"): 2,
        EndedGroup("default", "discarded"): 1,
    }
    assert _prune(shop, Cutoffs(past, past, NOW - 1)).total() == 3
    assert _left(shop) == {3: "dead", 4: "dead", 6: "pending", 7: "pending"}
    assert _prune(shop, Cutoffs(past, past, NOW, NOW)) == {}
    assert _prune(shop, Cutoffs(past, past, NOW, NOW - 1)) == {EndedGroup("default", "dead"): 2}
    assert _left(shop) == {6: "pending", 7: "pending"}
    assert verify(shop) == []


def test_what_is_no_time_of_ours_is_not_beyond_it(engine: Engine) -> None:
    """Somebody wrote it by hand; it stays, as it did."""
    [row] = write(engine, "a")
    Daemon(engine).deliver(row)
    moment = "tomorrow" if engine.dialect.name == "sqlite" else "infinity"
    tamper(engine, f"UPDATE shipper_outbox SET delivered_at = '{moment}'")
    for cutoffs in (Cutoffs(NOW, NOW), Cutoffs(NOW, NOW, NOW, NOW)):
        assert due(engine, cutoffs) == {}
        assert _prune(engine, cutoffs) == {}


def test_the_newest_time_is_of_the_last_event_or_the_last_delivery(engine: Engine) -> None:
    """Whichever is later; an empty outbox has none."""
    assert newest(engine) is None
    [first, _] = write(engine, "a", "b")
    tamper(engine, "UPDATE shipper_outbox SET created_at = '2001-01-01T00:00:00.000Z'")
    assert newest(engine) == 978307200.0
    Daemon(engine).deliver(first)
    assert newest(engine) == pytest.approx(NOW, abs=0.001)


def test_nothing_goes_that_is_kept_for_ever(shop: Engine) -> None:
    """`never` in the configuration."""
    assert _prune(shop, Cutoffs.at(inf, delivered=None, dead=None)) == {}
    assert len(_left(shop)) == 7


def test_an_old_event_that_died_today_stays(engine: Engine) -> None:
    """After an outage of weeks the reason still waits to be read."""
    [row] = write(engine, "a")
    Daemon(engine).bury(row)
    tamper(engine, "UPDATE shipper_outbox SET created_at = '2001-01-01T00:00:00.000Z'")
    assert _prune(engine, Cutoffs(NOW - DAY, NOW - DAY)) == {}
    assert _left(engine) == {row: "dead"}


def test_an_event_without_a_history_counts_from_when_it_was_written(shop: Engine) -> None:
    """Somebody may have deleted the history by hand."""
    tamper(shop, "DELETE FROM shipper_attempt")
    tamper(shop, "UPDATE shipper_outbox SET created_at = '2001-01-01T00:00:00.000Z'")
    assert _prune(shop, Cutoffs(None, NOW - DAY)) == {EndedGroup("default", "dead"): 2}


def test_a_dead_letter_that_holds_its_key_stays(engine: Engine) -> None:
    """Without it nobody could tell why the key waits; once it is released it may go."""
    ids = write(engine, "a", "a")
    Daemon(engine).bury(ids[0], holds_key=True)
    assert _prune(engine, LATER) == {}
    release_key(engine, "a")
    assert _prune(engine, LATER) == {EndedGroup("default", "dead"): 1}
    assert _left(engine) == {ids[1]: "pending"}


def test_a_retried_dead_letter_stays(shop: Engine) -> None:
    """It is pending again."""
    retry(shop, Selection(ids=(3, 4)), NOW)
    _prune(shop, LATER)
    assert _left(shop) == {3: "pending", 4: "pending", 6: "pending", 7: "pending"}
    assert verify(shop) == []


def test_the_history_goes_with_its_event(shop: Engine) -> None:
    """Only that of pending events is left."""
    daemon = Daemon(shop)
    daemon.postpone(7, attempts=1, wait=5.0)
    _prune(shop, LATER)
    assert ask(shop, "SELECT DISTINCT outbox_id FROM shipper_attempt") == [(7,)]


def test_an_event_id_is_free_again(shop: Engine) -> None:
    """And the new event has an id that nobody ever had."""
    [(name,)] = ask(shop, "SELECT event_id FROM shipper_outbox WHERE id = 1")
    _prune(shop, LATER)
    payload = "CAST('{}' AS json)" if shop.dialect.name == "postgresql" else "'{}'"
    run(
        shop, f"INSERT INTO shipper_outbox (payload, event_id) VALUES ({payload}, :name)", name=name
    )
    assert ask(shop, "SELECT id FROM shipper_outbox WHERE event_id = :n", n=name) == [(8,)]
    assert verify(shop) == []


def test_every_destination_has_its_own_books(engine: Engine) -> None:
    """Also one that the configuration no longer knows."""
    ids = [row for name in ("default", "other") for row in write(engine, "a", destination=name)]
    daemon = Daemon(engine, "default", "other")
    daemon.deliver(ids[0])
    daemon.bury(ids[1])
    _prune(engine, LATER)
    books = "SELECT name, delivered, dead, purged FROM shipper_destination ORDER BY name"
    assert ask(engine, books) == [("default", 0, 0, 1), ("other", 0, 0, 1)]
    assert verify(engine) == []


def test_a_name_that_is_no_utf8_is_no_obstacle(sqlite_url: str) -> None:
    """SQLite keeps whatever bytes an application wrote."""
    engine = retention_engine(sqlite_url)
    tamper(
        engine,
        "INSERT INTO shipper_outbox (payload, destination) VALUES ('{}', CAST(x'ff61' AS TEXT))",
    )
    tamper(
        engine,
        "UPDATE shipper_outbox SET status = 'delivered', delivery_number = 0,"
        " delivered_at = '2001-01-01T00:00:00.000Z'",
    )
    tamper(
        engine,
        "INSERT INTO shipper_destination (name, delivered) VALUES (CAST(x'ff61' AS TEXT), 1)",
    )
    assert _prune(engine, LATER) == {EndedGroup("\ufffda", "delivered"): 1}
    assert ask(engine, "SELECT delivered, purged FROM shipper_destination") == [(0, 1)]
    engine.dispose()


def retention_engine(url: str) -> Engine:
    """Return an engine; the caller disposes of it."""
    from shipper.store.db.engine import open_engine

    return open_engine(url)


def test_a_counter_that_is_too_low_keeps_nothing_here(shop: Engine) -> None:
    """`verify` tells of it; the disk must not fill because of it."""
    tamper(shop, "UPDATE shipper_destination SET delivered = 1")
    _prune(shop, DELIVERED_ONLY)
    assert _counters(shop) == (0, 2, 0, 3)


# -- what would go --------------------------------------------------------------------------------


def test_what_would_go_is_what_goes(shop: Engine) -> None:
    """And to ask changes nothing."""
    for cutoffs in (LATER, DELIVERED_ONLY, Cutoffs(NOW, NOW), replace(LATER, delivered=None)):
        before = _left(shop)
        expected = due(shop, cutoffs)
        assert _left(shop) == before
        assert _prune(shop, cutoffs) == expected


# -- in batches -----------------------------------------------------------------------------------


class _Clock:
    """A clock on which every reading is later by so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.now, self.step = 0.0, seconds

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def crowd(engine: Engine) -> Engine:
    """Give an outbox with 300 delivered events among which every tenth is pending."""
    payload = "CAST('{}' AS json)" if engine.dialect.name == "postgresql" else "'{}'"
    for _ in range(300):
        run(engine, f"INSERT INTO shipper_outbox (payload) VALUES ({payload})")
    Daemon(engine)
    tamper(
        engine,
        "UPDATE shipper_outbox SET status = 'delivered', delivered_at = created_at,"
        " delivery_number = 0 WHERE id % 10 <> 0",
    )
    tamper(engine, "UPDATE shipper_destination SET delivered = 270")
    return engine


def test_a_batch_that_takes_too_long_is_followed_by_a_smaller_one(crowd: Engine) -> None:
    """Down to a few rows; what is left over is a batch too."""
    sizes = [batch.total() for batch in prune(crowd, LATER, _Clock(2 * BATCH_SECONDS))]
    assert sizes[:4] == [50, 25, 12, 10]
    assert sum(sizes) == 270
    assert verify(crowd) == []


def test_a_quick_batch_is_followed_by_a_larger_one(crowd: Engine) -> None:
    """Up to a bound."""
    assert [batch.total() for batch in prune(crowd, LATER, _still)] == [50, 100, 120]
    pace = BatchSize()
    for _ in range(20):
        pace.took(0.0)
    assert pace.rows == 2000


def test_whoever_stops_in_the_middle_leaves_balanced_books(crowd: Engine) -> None:
    """Each batch stands for itself, and the next run goes on."""
    batches = prune(crowd, LATER, _still)
    assert next(batches).total() == 50
    assert verify(crowd) == []
    assert _counters(crowd) == (220, 0, 0, 50)
    assert _prune(crowd, LATER).total() == 220


def test_a_daemon_and_a_deletion_take_turns(crowd: Engine) -> None:
    """Between two batches events are shipped, and all of it is counted."""
    daemon = Daemon(crowd)
    row = 10
    for _ in prune(crowd, LATER, _Clock(2 * BATCH_SECONDS)):
        if row <= 200:
            daemon.deliver(row)
            row += 10
    assert _counters(crowd)[0] + _counters(crowd)[3] == 290
    assert verify(crowd) == []


# -- how it is found ------------------------------------------------------------------------------


def _plans(engine: Engine) -> list[str]:
    """Return how the database goes about each statement that looks for rows to delete."""
    found: list[str] = []

    def explain(
        connection: Connection,
        _: object,
        statement: str,
        parameters: object,
        __: object,
        many: bool,  # noqa: FBT001
    ) -> None:
        if statement.startswith("SELECT id,") and "is_due" in statement:
            ask = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
            rows = connection.exec_driver_sql(f"{ask} {statement}", parameters).all()  # type: ignore[arg-type]
            found.append("\n".join(str(row[-1]) for row in rows))

    listen(engine, "before_cursor_execute", explain)
    try:
        _prune(engine, LATER)
    finally:
        remove(engine, "before_cursor_execute", explain)
    return found


@pytest.mark.parametrize("statistics", ["without", "with"])
def test_nothing_pending_is_met(engine: Engine, statistics: str) -> None:
    """Every look goes along an index that holds only what is over."""
    fill = {
        "sqlite": "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)"
        " INSERT INTO shipper_outbox (payload) SELECT '{}' FROM n",
        "postgresql": "INSERT INTO shipper_outbox (payload)"
        " SELECT '{}' FROM generate_series(1, 20000)",
    }
    run(engine, fill[engine.dialect.name])
    tamper(
        engine,
        "UPDATE shipper_outbox SET status = 'delivered', delivered_at = created_at,"
        " delivery_number = 0 WHERE id <= 100",
    )
    Daemon(engine)
    tamper(engine, "UPDATE shipper_destination SET delivered = 100")
    if statistics == "with":
        run(engine, "ANALYZE")
    plans = _plans(engine)
    indexes = [f"shipper_outbox_{name}" for name in ("delivered", "discarded", "dead")]
    assert [[name for name in indexes if name in plan] for plan in plans[-3:]] == [
        [name] for name in indexes
    ]
    for plan in plans:
        assert "Seq Scan on shipper_outbox" not in plan
        assert "SCAN shipper_outbox" not in plan
        assert "B-TREE" not in plan


def test_the_names_of_the_indexes_are_the_statuses() -> None:
    """The statements say which way to go by the status they look for."""
    assert set(retention._PURGE) == {"delivered", "discarded", "dead"}

"""`verify` finds every broken promise, and calls nothing a fault that can come about rightly."""

import tracemalloc

import pytest
from sqlalchemy import Engine, text

from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.db.transactions import glancing
from shipper.store.drain.record import ATTEMPTS_KEPT
from shipper.store.operate.dead_letters import discard, retry
from shipper.store.report.verify import RULES, RuleFinding, verify
from tests.store.daemons import NOW, VIEW, Daemon, tamper, write
from tests.store.shipping import ask, run


def _fill(engine: Engine) -> Engine:
    ids = write(engine, "a", "a", "b", "b", "b", "c", "c", "c", "d", "d")
    daemon = Daemon(engine)
    daemon.deliver(*ids[:5])
    daemon.bury(*ids[5:8])
    discard(engine, Selection(ids=(ids[7],)), NOW)
    daemon.claim(ids[8])
    return engine


@pytest.fixture
def shop(engine: Engine) -> Engine:
    """Give an outbox with five delivered, two dead, one discarded and two pending events."""
    return _fill(engine)


def _faults(engine: Engine) -> list[RuleFinding]:
    return [finding for finding in verify(engine) if finding.fault]


def _fault(engine: Engine) -> tuple[str, str]:
    [finding] = _faults(engine)
    assert finding.rule in RULES
    return finding.rule, finding.message


def test_a_sound_outbox_gives_nothing_to_tell(shop: Engine) -> None:
    """Every state that an event can be in is in it."""
    assert verify(shop) == []


def test_an_empty_outbox_gives_nothing_to_tell(engine: Engine) -> None:
    """Also where no daemon has ever run."""
    assert verify(engine) == []


@pytest.mark.parametrize(
    ("statement", "rule", "message"),
    [
        (
            "UPDATE shipper_destination SET delivered = 4",
            "counters",
            "destination default counts 4 delivered events, but has 5",
        ),
        (
            "UPDATE shipper_outbox SET delivered_at = NULL WHERE id = 2",
            "states",
            "event 2: delivered without a time or a number",
        ),
        (
            "UPDATE shipper_outbox SET delivered_at = created_at WHERE id = 6",
            "states",
            "event 6: not delivered, but with a time of delivery",
        ),
        (
            "UPDATE shipper_outbox SET delivery_number = 1 WHERE id IN (9, 10)",
            "states",
            "2 events, the first of them 9: pending, but with the number of its end",
        ),
        (
            "UPDATE shipper_outbox SET last_error = NULL WHERE id = 6",
            "states",
            "event 6: dead without a reason",
        ),
        (
            "UPDATE shipper_outbox SET delivery_number = 99999 WHERE id = 5",
            "states",
            "event 5: with a delivery number above the last one given out",
        ),
        (
            "UPDATE shipper_outbox SET delivery_number = 1 WHERE id = 5",
            "order",
            "event 5: delivered before an earlier event of its key",
        ),
        (
            "UPDATE shipper_destination SET purged = 1",
            "positions",
            "10 ids were given out; 10 are rows and 1 were purged",
        ),
        (
            "UPDATE shipper_claim SET ids = '[1,2]'",
            "claims",
            "claim 7 names no pending event, but is still there",
        ),
    ],
)
def test_every_broken_promise_is_found(
    shop: Engine, statement: str, rule: str, message: str
) -> None:
    """With the event that shows it, and nothing else beside it."""
    if shop.dialect.name == "postgresql" and "delivered_at = NULL" in statement:
        tamper(shop, "ALTER TABLE shipper_outbox DROP CONSTRAINT shipper_outbox_delivered")
    tamper(shop, statement)
    assert _fault(shop) == (rule, message)


def test_events_that_are_counted_nowhere_are_found(shop: Engine) -> None:
    """Their destination has no row."""
    tables = ["destination"] + ["link", "count"] * (shop.dialect.name == "postgresql")
    for name in tables:
        tamper(shop, f"DELETE FROM shipper_{name}")
    assert [finding.message for finding in _faults(shop)] == [
        f"{count} events have a destination without counters"
        for count in ("5 delivered", "2 dead", "1 discarded")
    ]


def test_what_no_constraint_lets_in_is_found_all_the_same(sqlite_url: str) -> None:
    """A constraint can be switched off by whoever writes."""
    engine = _fill(open_engine(sqlite_url))
    tamper(engine, "UPDATE shipper_outbox SET status = 'lost', attempts = -1 WHERE id = 10")
    whats = [finding.message.partition(": ")[2] for finding in _faults(engine)]
    assert whats == ["of an unknown status", "with a negative number of attempts"]
    engine.dispose()


def test_a_history_that_outgrew_its_bound_is_found(shop: Engine) -> None:
    """At most fifty tries are kept of an event."""
    row = (
        "INSERT INTO shipper_attempt (outbox_id, event_id, started_at, duration_ms, outcome)"
        " SELECT id, event_id, created_at, 1, 'timeout' FROM shipper_outbox WHERE id = 9"
    )
    for _ in range(ATTEMPTS_KEPT):
        tamper(shop, row)
    assert _faults(shop) == []
    tamper(shop, row)
    assert _fault(shop) == ("history", "event 9 with more than 50 rows of history")


def test_a_row_that_somebody_deleted_is_found_by_its_counter(shop: Engine) -> None:
    """Of a pending one only the number tells, and a number alone proves nothing."""
    tamper(shop, "DELETE FROM shipper_outbox WHERE id = 1")
    assert _fault(shop)[0] == "counters"
    tamper(shop, "UPDATE shipper_destination SET delivered = 4")
    tamper(shop, "DELETE FROM shipper_outbox WHERE id = 10")
    [finding] = verify(shop)
    assert (finding.rule, finding.fault) == ("positions", False)
    assert "2 were never used" in finding.message


def test_a_retried_dead_letter_may_come_late(shop: Engine) -> None:
    """An operator asked for it; its followers are still in order among themselves."""
    daemon = Daemon(shop)
    ids = write(shop, "a", "a", "a")
    daemon.bury(ids[0])
    daemon.deliver(ids[1], ids[2])
    retry(shop, Selection(ids=(ids[0],)), NOW)
    daemon.deliver(ids[0])
    assert _faults(shop) == []
    tamper(shop, f"UPDATE shipper_outbox SET delivery_number = 1 WHERE id = {ids[2]}")
    assert _fault(shop)[0] == "order"


def test_events_without_a_key_have_no_order(shop: Engine) -> None:
    """Each has a lane of its own."""
    daemon = Daemon(shop)
    first, second = write(shop, None, None)
    daemon.deliver(second, first)
    assert _faults(shop) == []


def test_an_id_that_was_never_used_is_told_and_is_no_fault(shop: Engine) -> None:
    """A transaction rolled back, or the event was there already."""
    payload = f"CAST('{VIEW}' AS json)" if shop.dialect.name == "postgresql" else f"'{VIEW}'"
    again = (
        f"INSERT INTO shipper_outbox (payload, event_id) VALUES ({payload}, 'order-1')"
        " ON CONFLICT (event_id) DO NOTHING"
    )
    for _ in range(2):
        tamper(shop, again)
    write(shop, "z")
    [finding] = verify(shop)
    assert (finding.rule, finding.fault) == ("positions", False)
    assert finding.message == (
        "13 ids were given out; 12 are rows and 0 were purged;"
        " 1 were never used: rolled back, or skipped by ON CONFLICT"
    )


def test_an_audit_changes_nothing(shop: Engine) -> None:
    """Not even the generation by which the daemon notices an operator."""
    question = text("SELECT * FROM shipper_lease")
    with shop.begin() as tx:
        before = tx.execute(question).all()
    verify(shop)
    with shop.begin() as tx:
        assert tx.execute(question).all() == before


def test_an_audit_needs_no_memory_by_the_number_of_keys(shop: Engine) -> None:
    """The database sorts them, on its disk; what SQLite keeps there is in memory again later."""
    number = ask(shop, "SELECT max(delivery_number) FROM shipper_outbox")[0][0]
    run(
        shop,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " INSERT INTO shipper_outbox"
        " (payload, ordering_key, status, delivered_at, delivery_number)"
        f" SELECT '{{}}', 'key' || i, 'delivered', '2026-11-23T08:15:00.123Z', {number} + i FROM n",
    )
    if shop.dialect.name == "postgresql":
        run(shop, "SELECT setval('shipper_delivery', 40000)")
    else:
        run(shop, "UPDATE shipper_lease SET delivery = delivery + 20000")
    run(shop, "UPDATE shipper_destination SET delivered = delivered + 20000 WHERE name = 'default'")
    tracemalloc.start()
    try:
        assert verify(shop) == []
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000
    if shop.dialect.name == "sqlite":
        with glancing(shop) as tx:
            assert tx.exec_driver_sql("PRAGMA temp_store").scalar() == 2

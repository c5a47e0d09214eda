"""SQLite's count of the ids that it gave: noticed where a tool has spoilt it, and put right."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from shipper.errors import DiskFull, OutboxHeld
from shipper.store.db.engine import database_path, open_engine
from shipper.store.db.transactions import glancing, writing
from shipper.store.drain.messages import Work
from shipper.store.lease.file_lock import FileLock
from shipper.store.report import verify as audit
from shipper.store.schema.revisions import REVISIONS
from shipper.store.upgrade import migrate, sqlite_sequence
from tests.store import older
from tests.store.daemons import NOW
from tests.store.shipping import claim, failed, taken

LARGEST = 2**63 - 1


@pytest.fixture
def lite(sqlite_url: str) -> Iterator[Engine]:
    """Give a fresh SQLite outbox with three events."""
    engine = open_engine(sqlite_url)
    add(engine, "a", "b", "c")
    yield engine
    engine.dispose()


def add(engine: Engine, *names: str) -> None:
    """Write events as an application does."""
    with writing(engine) as tx:
        for name in names:
            tx.execute(
                text("INSERT INTO shipper_outbox (payload, event_id) VALUES ('{}', :name)"),
                {"name": name},
            )


def run(engine: Engine, *statements: str) -> None:
    """Do what a tool does."""
    with writing(engine) as tx:
        for statement in statements:
            tx.exec_driver_sql(statement)


def ids(engine: Engine) -> dict[str, int]:
    """Return the id of each event."""
    with glancing(engine) as tx:
        rows = tx.exec_driver_sql("SELECT event_id, id FROM shipper_outbox ORDER BY id").all()
    return {row.event_id: row.id for row in rows}


def said(engine: Engine) -> list[str]:
    """Return the faults that `verify` finds in the ids."""
    return [one.message for one in audit.verify(engine) if one.rule == "positions" and one.fault]


def poison(engine: Engine) -> None:
    """Write a row as an outbox of before let one: its triggers didn't look at the id."""
    with writing(engine) as tx:
        guard = "SELECT sql FROM sqlite_master WHERE name = 'shipper_outbox_refuse'"
        trigger = str(tx.exec_driver_sql(guard).scalar())
        tx.exec_driver_sql("DROP TRIGGER shipper_outbox_refuse")
        tx.exec_driver_sql(
            "INSERT INTO shipper_outbox (id, payload, event_id)"
            f" VALUES ({LARGEST}, '{{}}', 'poison')"
        )
        tx.exec_driver_sql(trigger)


def test_a_row_at_the_end_of_all_ids_is_noticed_and_moved(lite: Engine) -> None:
    """Its place stays the same: nothing could be written after it. INSERTs go through again."""
    poison(lite)
    with pytest.raises(DiskFull, match="though its disk isn't full") as caught:
        add(lite, "d")
    assert "shipper verify" in str(caught.value.hint)
    [told] = said(lite)
    assert "at their end" in told
    assert migrate.prepare(lite) == [
        f"{sqlite_sequence.look(lite)[0]}; stop shipper, then: shipper db upgrade"
    ]
    assert migrate.upgrade(lite) == [
        f"row {LARGEST} of shipper_outbox has id 4 now",
        "sqlite_sequence says 4 for shipper_outbox now",
    ]
    add(lite, "d")
    assert ids(lite) == {"a": 1, "b": 2, "c": 3, "poison": 4, "d": 5}
    assert said(lite) == []
    with pytest.raises(Exception, match="an event is never changed"):
        run(lite, "UPDATE shipper_outbox SET id = 9 WHERE id = 4")


def test_its_history_and_its_claim_go_with_it(lite: Engine) -> None:
    """What may have been sent still is known to be."""
    poison(lite)
    queue = taken(lite)
    events = claim(queue, 1, LARGEST)
    queue.turn(Work(now=NOW, records=[failed(events[1], 9.0)], released=[], wanted=[], links=[]))
    claim(queue, LARGEST)
    migrate.upgrade(lite)
    with glancing(lite) as tx:
        assert tx.exec_driver_sql("SELECT DISTINCT outbox_id FROM shipper_attempt").all() == [(4,)]
        claims = tx.exec_driver_sql("SELECT ids FROM shipper_claim ORDER BY number").scalars().all()
    assert "[4]" in claims
    assert not any(str(LARGEST) in one for one in claims)


def test_no_event_is_moved_while_a_daemon_ships(lite: Engine, sqlite_url: str) -> None:
    """It may be on its way."""
    poison(lite)
    path = database_path(sqlite_url)
    assert path is not None
    lock = FileLock(path)
    lock.acquire()
    with pytest.raises(OutboxHeld):
        migrate.upgrade(lite)
    assert ids(lite)["poison"] == LARGEST
    lock.release()


@pytest.mark.parametrize("seq", [LARGEST, LARGEST - 5, 2**60])
def test_a_count_at_its_end_without_such_a_row_is_lowered(lite: Engine, seq: int) -> None:
    """A tool wrote there, or the row is gone already."""
    run(lite, f"UPDATE sqlite_sequence SET seq = {seq} WHERE name = 'shipper_outbox'")
    assert len(said(lite)) == 1
    migrate.upgrade(lite)
    add(lite, "d")
    assert ids(lite)["d"] == 4


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM sqlite_sequence", "UPDATE sqlite_sequence SET seq = 0",
     "DELETE FROM sqlite_sequence WHERE name = 'shipper_outbox'"],
)  # fmt: skip
def test_a_count_that_was_emptied_is_raised_by_the_next_daemon(
    lite: Engine, statement: str
) -> None:
    """As tests' tools do; an id that stands in the history is never given again."""
    run(lite, "INSERT INTO shipper_attempt (outbox_id, event_id, started_at, duration_ms, outcome)"
        " VALUES (3, 'c', '2026-11-23T08:15:00.123Z', 1, 'timeout')",
        "DELETE FROM shipper_outbox WHERE id = 3", statement)  # fmt: skip
    assert any("a tool has emptied it" in told for told in said(lite))
    assert migrate.prepare(lite) == []
    add(lite, "d")
    assert ids(lite)["d"] == 4
    assert not any("emptied" in told for told in said(lite))


@pytest.mark.parametrize("revision", REVISIONS[-3:-1])
@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM sqlite_sequence", []),
        (f"UPDATE sqlite_sequence SET seq = {LARGEST}", ["stop shipper, then: shipper db upgrade"]),
    ],
    ids=["emptied", "at its end"],
)
def test_a_daemon_that_brings_its_outbox_up_to_date_is_not_in_its_own_way(
    tmp_path: Path, revision: str, statement: str, told: list[str]
) -> None:
    """It holds the outbox: what only may be done while nobody does is left to a command."""
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    engine = open_engine(url, create=True)
    older.make(engine, revision)
    run(engine, "INSERT INTO shipper_outbox (payload) VALUES ('{}'), ('{}')", statement)
    lock = FileLock(tmp_path / "shop.db")
    lock.acquire()
    notices = migrate.prepare(engine)
    assert [one.rpartition("; ")[2] for one in notices] == told
    lock.release()
    migrate.upgrade(engine)
    assert said(engine) == []
    add(engine, "c")
    assert ids(engine)["c"] == 3
    engine.dispose()


def test_a_sound_count_is_left_alone(lite: Engine) -> None:
    """Also above the highest row: those were purged, or ignored."""
    run(lite, "DELETE FROM shipper_outbox WHERE id = 3")
    assert (migrate.prepare(lite), migrate.upgrade(lite)) == ([], [])
    add(lite, "d")
    assert ids(lite)["d"] == 4

"""`db upgrade` and `verify --recount` put right what is wrong while everybody goes on."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import CursorResult, Engine
from sqlalchemy.event import listens_for

from shipper.store.db import batches
from shipper.store.db.batches import FIRST
from shipper.store.db.dialect import dialect_of
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.drain.messages import Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.turns import fold_all
from shipper.store.report.verify import verify
from shipper.store.upgrade import recount
from shipper.store.upgrade.migrate import fix
from tests.store.daemons import NOW, Daemon, tamper, write
from tests.store.outboxes import event
from tests.store.shipping import accepted, ask, claim, record, run, taken


@pytest.fixture
def written(engine: Engine) -> list[tuple[str, int]]:
    """Give what transactions that write have asked of the table of events, and of how many rows."""
    found: list[tuple[str, int]] = []

    @listens_for(engine, "after_cursor_execute")
    def _note(connection: Any, cursor: CursorResult[Any], statement: str, *__: object) -> None:
        writes = connection.get_execution_options().get("mode") == "write"
        if writes and re.match(r"(SELECT|UPDATE|INSERT|DELETE).*\bshipper_outbox\b", statement):
            found.append((statement, cursor.rowcount))

    return found


def _past_the_triggers(engine: Engine, count: int) -> None:
    """Write events as a tool does that loads rows without their triggers."""
    payload = event("anna")
    if engine.dialect.name == "postgresql":
        columns, values = "payload, slot", "CAST(:payload AS json), 0"
        tamper(engine, "ALTER TABLE shipper_outbox DISABLE TRIGGER shipper_outbox_write")
    else:
        columns, values = "payload", ":payload"
        [(derive,)] = ask(
            engine, "SELECT sql FROM sqlite_master WHERE name = 'shipper_outbox_derive'"
        )
        tamper(engine, "DROP TRIGGER shipper_outbox_derive")
    run(
        engine,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
        f" INSERT INTO shipper_outbox ({columns}) SELECT {values} FROM n",
        payload=payload,
        count=count,
    )
    if engine.dialect.name == "sqlite":
        with engine.begin() as tx:
            tx.exec_driver_sql(derive)


def test_keys_of_many_events_are_mended_in_batches(
    engine: Engine, written: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction asks for the events of its batch, and of no others."""
    monkeypatch.setattr(batches, "paced", lambda rows, *_: rows)
    many = 2 * FIRST + 1
    _past_the_triggers(engine, many)
    if engine.dialect.name == "postgresql":
        # What is in the catalog is not what this is about.
        tamper(engine, "ALTER TABLE shipper_outbox ENABLE ALWAYS TRIGGER shipper_outbox_write")
    written.clear()
    told = fix(engine)
    assert [line for line in told if line.endswith(f": {many}")], told
    assert ask(engine, "SELECT DISTINCT ordering_key FROM shipper_outbox") == [("anna",)]
    assert not [finding for finding in verify(engine) if finding.fault]
    assert written
    for statement, rows in written:
        assert "id IN (" in statement or "shipper_written_past" in statement, statement
        assert rows <= FIRST


def test_nobody_waits_while_rows_are_counted(
    engine: Engine, written: list[tuple[str, int]]
) -> None:
    """What writes the counters reads no event."""
    Daemon(engine).deliver(*write(engine, *"abc"))
    _off(engine, 77)
    written.clear()
    assert recount.recount(engine) == 1
    assert written == []


def _off(engine: Engine, delivered: int) -> None:
    """Have the counter say something else than the rows."""
    with writing(engine) as tx:
        fold_all(tx)
    tamper(engine, f"UPDATE shipper_destination SET delivered = {delivered}")


def _delivered(engine: Engine) -> int:
    counters = dialect_of(engine).counters
    [(delivered,)] = ask(engine, f"SELECT delivered FROM {counters}")
    return int(delivered)


def test_what_is_delivered_while_it_is_counted_is_counted_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how much a counter is off stays the same, whatever goes on."""
    first, second, third, fourth = write(engine, *"abcd")
    daemon = Daemon(engine)
    daemon.deliver(first)
    _off(engine, 77)
    look, meanwhile = recount._look, [(second,), (third, fourth)]

    def slow(engine: Engine) -> Any:
        found = look(engine)
        if meanwhile:
            daemon.deliver(*meanwhile.pop())
        return found

    monkeypatch.setattr(recount, "_look", slow)
    assert recount.recount(engine) == 1
    assert _delivered(engine) == 4


def test_two_who_count_at_once_add_the_difference_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second looks again."""
    Daemon(engine).deliver(*write(engine, *"abc"))
    _off(engine, 1)
    look = recount._look

    def late(engine: Engine) -> Any:
        found = look(engine)
        monkeypatch.setattr(recount, "_look", look)
        assert recount.recount(engine) == 1
        return found

    monkeypatch.setattr(recount, "_look", late)
    assert recount.recount(engine) == 0
    assert _delivered(engine) == 3


@pytest.fixture
def other(database_url: str) -> Iterator[Engine]:
    """Give a command's own engine."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def _meanwhile(engine: Engine, asked: str, does: Callable[[], object]) -> None:
    """Have something done each time just before the engine asks for what matches."""

    @listens_for(engine, "before_cursor_execute")
    def _before(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if re.search(asked, statement):
            does()


@pytest.mark.parametrize(
    "asked",
    [r"max\(delivery_number\)", r"max\(number\)|FROM shipper_delivery"],
    ids=["rows", "last"],
)
def test_a_turn_between_two_questions_is_no_damage(
    engine: Engine, other: Engine, asked: str
) -> None:
    """The numbers of a daemon that goes on are never behind; it keeps its place."""
    ids = iter(write(engine, *"abcdef"))
    queue = taken(engine)
    sent = [claim(queue, next(ids))]

    def turn() -> None:
        records = [accepted(event) for event in sent[-1]]
        sent.append(queue.turn(Work(now=NOW, records=records, wanted=[next(ids)])))

    _meanwhile(other, asked, turn)
    assert fix(other) == []
    assert len(sent) > 1
    turn()
    assert not [finding for finding in verify(engine) if finding.fault]


def test_numbers_that_another_has_raised_meanwhile_are_left_alone(
    postgres_url: str,
) -> None:
    """Whoever began at that anew keeps its place."""
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    Daemon(engine).deliver(*write(engine, *"abc"))
    run(engine, "SELECT setval('shipper_delivery', 1, false)")
    told: list[str] = []
    queue: list[Queue] = []

    def first() -> None:
        if not told:
            told.extend(fix(engine))
            queue.append(taken(engine))

    _meanwhile(other, "FOR UPDATE|WITH ended", first)
    assert fix(other) == []
    assert told == ["last numbers were behind those of the rows: 1"]
    write(engine, "d")
    record(queue[0], *map(accepted, claim(queue[0], 4)))
    assert not [finding for finding in verify(engine) if finding.fault]
    engine.dispose()
    other.dispose()

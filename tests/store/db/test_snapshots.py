"""What a turn costs while somebody holds a snapshot: no more than without one.

Then nothing that turns leave behind can be cleaned up, for as long as a dump or a report takes.
What is counted is the blocks that PostgreSQL touches, not the time.
"""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, TextClause, text

from shipper.doctor.database import check_snapshots
from shipper.doctor.result import CheckLevel
from shipper.policy.event import Event
from shipper.store.db import commits
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import glancing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Work
from shipper.store.upkeep import retention
from shipper.store.upkeep.retention import Cutoffs, prune
from tests.store.daemons import NOW
from tests.store.shipping import accepted, run, settled, taken

HOT = Look("lane", "default", 64, lane="hot")
LATER = NOW + 36500 * 86400.0  # after whatever the server's clock has stamped
BEHIND = 1500
SOME = 40
_WRITE = (
    "INSERT INTO shipper_outbox (payload, ordering_key)"
    " SELECT '{}', 'hot' FROM generate_series(1, :count)"
)
_DELIVER = (
    "UPDATE shipper_outbox SET status = 'delivered', delivered_at = created_at,"
    " delivery_number = id WHERE id <= :count"
)
_BLOCKS = text(
    "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)"
    " FROM pg_statio_user_tables WHERE relname LIKE 'shipper\\_%'"
)
_ENTRIES = text(
    "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'shipper_outbox_delivered'"
)


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Give an outbox whose dead rows nobody removes; one key has all of it."""
    engine = open_engine(postgres_url)
    tables = "outbox", "lease", "destination", "claim", "turn", "count"
    for name in tables:
        run(engine, f"ALTER TABLE shipper_{name} SET (autovacuum_enabled = off)")
    run(engine, _WRITE, count=BEHIND + 200)
    yield engine
    engine.dispose()


@pytest.fixture
def snapshot(engine: Engine, postgres_url: str) -> Iterator[Callable[[], None]]:
    """Give what opens a snapshot as a dump does."""
    dump = open_engine(postgres_url)
    with dump.connect() as connection:

        def hold() -> None:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            connection.execute(text("SELECT count(*) FROM shipper_outbox"))

        yield hold
    dump.dispose()


class _Touched:
    """How much was touched so far: blocks of our tables, if nothing else is asked for."""

    def __init__(self, engine: Engine, counted: TextClause = _BLOCKS) -> None:
        self._engine, self._counted = engine, counted

    def now(self) -> int:
        """Return the count, once all that was done is in it."""
        with glancing(self._engine) as tx:
            tx.exec_driver_sql("SELECT pg_stat_force_next_flush()")  # PostgreSQL 15
        with glancing(self._engine) as tx:
            return int(tx.execute(self._counted).scalar_one())


class _Drain:
    """A daemon that ships one hot key, an event a turn."""

    def __init__(self, engine: Engine) -> None:
        self._touched = _Touched(engine)
        self.queue = taken(engine)
        self.looks = settled(Looks(engine))
        self._sent: list[Event] = []

    def ship(self, turns: int) -> None:
        """Do so many turns, each with a look at what is new, and at the key."""
        for _ in range(turns):
            self.looks.pulse()
            rows = self.looks.look(HOT)
            head = next(row.id for row in rows if not self._sent or row.id > self._sent[0].id)
            records = [accepted(event) for event in self._sent]
            self._sent = self.queue.turn(Work(now=NOW, records=records, wanted=[head]))

    def cost(self, turns: int) -> float:
        """Return how many blocks a turn touches."""
        before = self._touched.now()
        self.ship(turns)
        return (self._touched.now() - before) / turns


def test_a_turn_costs_the_same_with_a_snapshot_that_is_held(
    engine: Engine, snapshot: Callable[[], None]
) -> None:
    """Whatever lies behind it: nothing that was written before is met."""
    drain = _Drain(engine)
    drain.ship(SOME)
    fresh = drain.cost(SOME)
    snapshot()
    drain.ship(BEHIND - 3 * SOME)
    assert drain.cost(SOME) < 1.2 * fresh


def test_prune_passes_by_what_it_has_deleted(
    engine: Engine, snapshot: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch reads as many entries of the index as it deletes, and the one it came to."""
    run(engine, _DELIVER, count=BEHIND)
    monkeypatch.setattr(retention, "_MOST", 50)
    snapshot()
    entries = _Touched(engine, _ENTRIES)
    steps = prune(engine, Cutoffs.at(LATER, delivered=0.0, dead=None), lambda: 0.0)
    for _ in range(10):
        before = entries.now()
        [(_, deleted)] = next(steps).items()
        assert entries.now() - before <= deleted + 1


def test_who_keeps_a_snapshot_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """By doctor, once it is kept for an hour; also where it has written nothing."""
    report = open_engine(f"{engine.url.render_as_string(False)}&application_name=yearly%20report")
    assert commits.oldest_snapshot(engine) is None
    with report.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("SELECT 1")
        found = commits.oldest_snapshot(engine)
        assert found is not None
        assert found[0].startswith("yearly report (process ")
        [finding] = check_snapshots(engine)
        assert finding.level is CheckLevel.OK
        monkeypatch.setattr("shipper.doctor.database._SNAPSHOT_LONG", -1.0)
        [finding] = check_snapshots(engine)
        assert finding.level is CheckLevel.WARNING
        assert "yearly report (process " in finding.text
        connection.rollback()
    report.dispose()
    assert commits.oldest_snapshot(engine) is None

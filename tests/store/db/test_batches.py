"""Nobody waits for work on many rows: it is cut up, and everybody else has a turn in between."""

import re
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from sqlalchemy import CursorResult, Engine, text
from sqlalchemy.event import listens_for

from shipper.errors import InvalidEvent
from shipper.store.db import batches, paging
from shipper.store.db.batches import BATCH_SECONDS, FIRST, LEAST, MOST, Batches
from shipper.store.db.dialect import dialect_of
from shipper.store.db.engine import open_engine
from shipper.store.db.failures import file_of
from shipper.store.db.selection import Selection
from shipper.store.operate import enqueue, move
from shipper.store.operate.bookkeeping import release_dead
from shipper.store.operate.dead_letters import discard, retry
from shipper.store.operate.discard import discard_pending
from shipper.store.operate.enqueue import AT_ONCE, NewEvent
from shipper.store.operate.move import MovedEvent, move_in, move_out
from shipper.store.operate.reroute import reroute
from shipper.store.operate.send_now import send_now
from shipper.store.report.verify import verify
from shipper.store.upkeep import retention
from shipper.store.upkeep.retention import Cutoffs, prune
from tests.store.daemons import NOW, VIEW
from tests.store.shipping import ask, run

MANY = 5 * FIRST + 1
ALL = Selection()
PENDING = Selection(status="pending")


class _Time:
    """A clock on which each row takes so long, and rests pass."""

    def __init__(self, a_row: float) -> None:
        self.now = 0.0
        self.rested: list[float] = []
        self._a_row = a_row

    def monotonic(self) -> float:
        return self.now

    def rest(self, seconds: float) -> None:
        self.rested.append(seconds)

    def do(self, rows: int) -> None:
        self.now += rows * self._a_row


@pytest.mark.parametrize("a_row", [0.0, 0.00001, 0.0002, 0.005, 0.04])
def test_a_batch_takes_as_many_rows_as_fit_into_its_time(a_row: float) -> None:
    """Whatever a row costs: a megabyte on a slow disk, or next to nothing."""
    time = _Time(a_row)
    turns = Batches(monotonic=time.monotonic, rest=time.rest)
    sizes = []
    for batch in islice(turns.cut(range(10**6)), 30):
        with turns.timing(len(batch)):
            time.do(len(batch))
        sizes.append(len(batch))
    assert sizes[0] == FIRST
    assert all(LEAST <= size <= MOST for size in sizes)
    assert all(size * a_row <= max(2 * BATCH_SECONDS, a_row) for size in sizes[5:])
    assert sizes[-1] * a_row >= BATCH_SECONDS / 4 or sizes[-1] == MOST
    # Everybody else has as long as the batch had.
    assert len(time.rested) == len(sizes) - 1
    assert all(r >= size * a_row * 0.999 for r, size in zip(time.rested, sizes, strict=False))


def test_what_is_heavy_goes_alone() -> None:
    """Events of a megabyte are few to a batch, however fast the first ones were."""
    turns = Batches(100)
    batches = list(turns.cut([1, 1, 9, 1, 20, 1], lambda item: item, 10))
    assert batches == [[1, 1, 9], [1, 20], [1]]


@pytest.fixture
def transactions(engine: Engine) -> list[int]:
    """Give how many rows of events each transaction that wrote some has written so far."""
    done: list[int] = [0]

    @listens_for(engine, "after_cursor_execute")
    def _count(_: object, cursor: CursorResult[Any], statement: str, *__: object) -> None:
        if statement.startswith(
            ("UPDATE shipper_outbox", "INSERT INTO shipper_outbox", "DELETE FROM shipper_outbox")
        ):
            done[-1] += max(0, cursor.rowcount)

    @listens_for(engine, "commit")
    def _commit(_: object) -> None:
        done.append(0)

    return done


def _fill(engine: Engine, count: int, status: str = "pending") -> None:
    payload = "CAST(:payload AS json)" if engine.dialect.name == "postgresql" else ":payload"
    ended = status != "pending"
    run(
        engine,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
        " INSERT INTO shipper_outbox (payload, status, last_error, delivered_at, delivery_number,"
        " created_at, ordering_key)"
        f" SELECT {payload}, '{status}', {repr('http-400') if ended else 'NULL'}, NULL,"
        f" {'i' if ended else 'NULL'}, '2020-01-01T00:00:00.000Z', 'k' || i FROM n",
        payload=VIEW,
        count=count,
    )
    number = count if ended else 0
    if engine.dialect.name == "postgresql":
        run(engine, "SELECT setval('shipper_delivery', :number, false)", number=number + 1)
    else:
        run(engine, "UPDATE shipper_lease SET delivery = :number", number=number)
    counts = {name: count * (status == name) for name in ("dead", "discarded")}
    run(
        engine,
        "INSERT INTO shipper_destination (name, dead, discarded)"
        " VALUES ('default', :dead, :discarded)",
        **counts,
    )


def _keep(pages: Iterator[list[MovedEvent]]) -> None:
    for _ in pages:
        pass


def _enqueue(engine: Engine) -> None:
    of = enqueue.begin(engine, "all", NOW)
    events = (NewEvent(VIEW, "default", f"k{n}") for n in range(MANY))
    for _ in enqueue.enqueue_many(engine, events, of):
        pass
    enqueue.end(engine, of)


def _take_in(engine: Engine) -> None:
    move_in(
        engine,
        (
            MovedEvent(n, f"e{n}", "default", f"k{n}", NOW, "pending", False, VIEW.encode())
            for n in range(MANY)
        ),
    )


def _prune(engine: Engine) -> None:
    for _ in prune(engine, Cutoffs.at(NOW, delivered=1.0, dead=1.0), _Time(0).monotonic):
        pass


WORK: dict[str, tuple[str | None, Callable[[Engine], object]]] = {
    "enqueue": (None, _enqueue),
    "enqueue --rows": (None, _take_in),
    "discard of what is pending": ("pending", lambda e: list(discard_pending(e, ALL))),
    "hand-over": ("pending", lambda e: move_out(e, PENDING, None, _keep)),
    "reroute": ("pending", lambda e: list(reroute(e, ALL, "erp", NOW))),
    "events retry": ("pending", lambda e: send_now(e, ALL)),
    "dead retry": ("dead", lambda e: retry(e, ALL, NOW)),
    "dead discard": ("dead", lambda e: discard(e, ALL, NOW)),
    "prune of dead letters": ("dead", _prune),
    "prune of what was discarded": ("discarded", _prune),
}


@pytest.mark.parametrize("work", WORK)
def test_no_transaction_grows_with_the_number_of_events(
    engine: Engine, transactions: list[int], monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """However many they are, each transaction has a batch of them."""
    monkeypatch.setattr(batches, "paced", lambda rows, *_: rows)
    monkeypatch.setattr(retention, "paced", lambda rows, *_: rows)
    status, do = WORK[work]
    if status is not None:
        _fill(engine, MANY, status)
    transactions[:] = [0]
    do(engine)
    assert sum(transactions) >= MANY
    assert max(transactions) <= (AT_ONCE if "enqueue" in work else FIRST)
    assert not [finding for finding in verify(engine) if finding.fault]


@pytest.mark.parametrize("work", ["reroute", "hand-over", "discard of what is pending"])
def test_who_looks_for_events_locks_nothing_meanwhile(
    engine: Engine, transactions: list[int], work: str
) -> None:
    """What fits is looked for by no transaction that writes: that goes by ids alone."""
    _fill(engine, 3)
    searched: list[str] = []

    @listens_for(engine, "after_cursor_execute")
    def _look(connection: Any, _: object, statement: str, *__: object) -> None:
        writes = connection.get_execution_options().get("mode") == "write"
        if writes and re.match(r"(SELECT .* FROM|UPDATE) shipper_outbox", statement):
            searched.append(statement)

    WORK[work][1](engine)
    assert searched
    assert all("id IN (SELECT" in statement for statement in searched), searched


@pytest.mark.parametrize("page", [2, 100])
def test_all_that_fit_are_found_in_order_however_many(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Few are found by whichever index, many in the order of the table."""
    monkeypatch.setattr(paging, "PAGE", page)
    _fill(engine, 7)
    run(engine, "UPDATE shipper_outbox SET status = 'discarded' WHERE id IN (2, 3)")
    found = paging.matching(engine, dialect_of(engine), *PENDING.where(_of(engine)))
    first = next(found)
    assert _writes(engine)
    assert [first, *found] == [1, 4, 5, 6, 7]


def _of(engine: Engine) -> Any:
    return dialect_of(engine)


def _writes(engine: Engine) -> bool:
    file = file_of(engine)
    url = engine.url.render_as_string(hide_password=False) if file is None else f"sqlite:///{file}"
    other = open_engine(url)
    run(other, "INSERT INTO shipper_outbox (payload) VALUES ('{}')")
    other.dispose()
    return True


def test_the_holds_of_others_are_not_gone_through(engine: Engine) -> None:
    """A retried dead letter's hold is found by its key: 100,000 others cost nothing."""
    dialect = dialect_of(engine)
    explain = "EXPLAIN QUERY PLAN " if dialect.name == "sqlite" else "EXPLAIN "
    statement = text(f"{explain}{release_dead(dialect)}")
    with engine.begin() as tx:
        if dialect.name == "postgresql":
            tx.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = str(tx.execute(statement, {"ids": dialect.bind_ids([1, 2])}).all())
    assert "shipper_hold_exact" in plan or "shipper_hold_key" in plan, plan
    assert "SCAN h" not in plan


# -- imports ------------------------------------------------------------------------------------


def _import(engine: Engine, events: int, batches: int | None = None) -> list[str]:
    """Import so many events, or only so many batches of them; return the ids."""
    of = enqueue.begin(engine, "a file", NOW)
    given = (NewEvent(VIEW, "default", f"k{n % 7}") for n in range(events))
    written = enqueue.enqueue_many(engine, given, of)
    ids = [event.event_id for batch in islice(written, batches) for event in batch]
    if batches is None:
        enqueue.end(engine, of)
    return ids


def test_an_import_that_was_cut_off_goes_on(engine: Engine) -> None:
    """Killed between two batches and done again, each event is there once, in its place."""
    before = _import(engine, 3 * AT_ONCE, batches=1)
    assert 0 < len(before) < 3 * AT_ONCE
    again = enqueue.begin(engine, "a file", NOW + 3600.0)
    assert again.is_resumed
    assert again.age == pytest.approx(3600.0)
    assert not enqueue.begin(engine, "another", NOW).is_resumed
    ids = _import(engine, 3 * AT_ONCE)
    assert ids[: len(before)] == before
    assert [row[0] for row in ask(engine, "SELECT event_id FROM shipper_outbox ORDER BY id")] == ids
    assert not [finding for finding in verify(engine) if finding.fault]


def test_an_import_that_is_over_is_another_one_next_time(engine: Engine) -> None:
    """Whoever means the same events once more gets them once more."""
    first, second = _import(engine, AT_ONCE + 1), _import(engine, AT_ONCE + 1)
    assert not {*first} & {*second}
    assert ask(engine, "SELECT count(*) FROM shipper_outbox") == [(2 * AT_ONCE + 2,)]
    assert ask(engine, "SELECT name FROM shipper_lease") == [("outbox",)]


def test_an_import_that_nobody_goes_on_with_is_forgotten(engine: Engine) -> None:
    """What lies beside the lease doesn't grow with the imports that somebody has killed."""
    enqueue.begin(engine, "old", NOW - 40 * 86400)
    enqueue.begin(engine, "new", NOW)
    names = ask(engine, "SELECT name FROM shipper_lease ORDER BY name")
    assert [name for (name,) in names] == ["import new", "outbox"]


def test_what_is_refused_in_a_later_batch_is_told_with_what_is_written(engine: Engine) -> None:
    """All of a few, or none; of many what came before stays, and is said."""
    good = [
        MovedEvent(n, f"e{n}", "default", "k", NOW, "pending", False, VIEW.encode())
        for n in range(AT_ONCE)
    ]
    bad = MovedEvent(9, "bad", "default", "k", NOW, "pending", False, b"{no")
    with pytest.raises(InvalidEvent, match=rf"event {AT_ONCE + 1}.*{AT_ONCE} before it are"):
        move_in(engine, [*good, bad])
    assert move_in(engine, good) == move.MovedIn(0, AT_ONCE, ("default",))


def test_no_command_holds_more_than_a_batch_in_memory(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 MB of events go in and out again in a few."""
    payload = f'{{"type":"view","padding":"{"x" * 10_000}"}}'
    monkeypatch.setattr(paging, "PAGE", 200)
    monkeypatch.setattr(move, "_PAGE", 20)
    tracemalloc.start()
    try:
        move_in(
            engine,
            (
                MovedEvent(n, f"e{n}", "default", "k", NOW, "pending", False, payload.encode())
                for n in range(1000)
            ),
        )
        assert move_out(engine, PENDING, None, _keep) == 1000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8_000_000

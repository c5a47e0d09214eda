"""What the tests of the daemon's verbs share: another connection's view, and what came of a try."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

from sqlalchemy import Engine, select, text

from shipper.clock import SystemClock
from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.step_runner import StepRunner
from shipper.drain import Dispatcher, Rhythm
from shipper.drain.reporter import Reporter
from shipper.drain.tally import Tally
from shipper.logs import open_log
from shipper.policy.delivery import Verdict, dead_letter, delivered, postponed
from shipper.policy.event import Event
from shipper.store.db.dialect import dialect_of
from shipper.store.db.transactions import reading, writing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import HistoryRow, Record, Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.schema import tables as schema
from tests.store.daemons import NOW

PATIENCE = 30.0
"""Seconds after which a test gives a signal up."""


def run(engine: Engine, statement: str, **values: Any) -> None:
    """Run a statement and commit it."""
    with writing(engine) as tx:
        tx.execute(text(statement), values)


def ask(engine: Engine, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Return what a statement finds."""
    with reading(engine) as tx:
        return [tuple(row) for row in tx.execute(text(statement), values)]


def taken(engine: Engine, **options: Any) -> Queue:
    """Return a queue that has taken the outbox."""
    queue = Queue(engine, **{"lease_ttl": 60.0} | options)
    queue.acquire(Owner.here())
    return queue


def dispatcher(engine: Engine, looks: Looks, thread: DatabaseThread) -> Dispatcher:
    """Return a dispatcher that has taken the outbox, and asks everything in the thread."""
    clock = SystemClock()
    return Dispatcher(
        taken(engine),
        looks,
        clock=clock,
        reporter=Reporter(open_log("critical"), Tally(clock.monotonic())),
        database=StepRunner(thread, clock.monotonic, in_loop=False),
        rhythm=Rhythm(0.02, 1.0, inf, 0.0),
    )


def claim(queue: Queue, *ids: int) -> list[Event]:
    """Claim events."""
    return queue.turn(Work(now=NOW, wanted=ids))


def record(queue: Queue, *records: Record) -> None:
    """Record what came of events."""
    queue.turn(Work(now=NOW, records=records))


def claims(engine: Engine) -> list[list[int]]:
    """Return the claims on disk, in the order in which they were made."""
    found = ask(
        engine, f"SELECT {dialect_of(engine).of_claim}, ids FROM shipper_claim ORDER BY 1, number"
    )
    return [json.loads(ids) for _, ids in found]


def table(engine: Engine, name: str) -> list[dict[str, Any]]:
    """Return the rows of `shipper_NAME`, times in seconds since 1970."""
    described = schema.metadata.tables[f"shipper_{name}"]
    columns = [
        c
        for c in described.columns
        if c.info.get("only", engine.dialect.name) == engine.dialect.name
    ]
    with reading(engine) as tx:
        rows = tx.execute(select(*columns).order_by(described.primary_key.columns[0]))
        return [dict(row) for row in rows.mappings()]


def event_row(engine: Engine, row: int) -> dict[str, Any]:
    """Return an event with all that is kept about it."""
    [found] = [event for event in table(engine, "outbox") if event["id"] == row]
    return found


_BY_CLOCK_OR_CHANCE = {"tx", "created_at", "acquired_at", "expires_at", "owner", "at"}


def everything(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Return all that the daemon can change, but what clocks and rolled back inserts number."""
    names = ["outbox", "claim", "attempt", "destination", "hold", "lease"]
    if engine.dialect.name == "postgresql":
        names += ["turn", "count", "daemon", "shard", "link"]
    left_out = dict.fromkeys(names, _BY_CLOCK_OR_CHANCE)
    left_out["attempt"] = left_out["hold"] = _BY_CLOCK_OR_CHANCE | {"id"}
    left_out["daemon"] = _BY_CLOCK_OR_CHANCE | {"since"}
    left_out["turn"] = _BY_CLOCK_OR_CHANCE | {"delivery"}
    if engine.dialect.name == "postgresql":  # there the link has these times
        left_out["destination"] = _BY_CLOCK_OR_CHANCE | {"since", "updated_at"}
    found = {
        name: [
            {column: value for column, value in row.items() if column not in left_out[name]}
            for row in table(engine, name)
        ]
        for name in names
    }
    if engine.dialect.name == "postgresql":  # blocks of numbers leave gaps; their order remains
        numbers = sorted(row["delivery_number"] or 0 for row in found["outbox"])
        for row in found["outbox"]:
            row["delivery_number"] = numbers.index(row["delivery_number"] or 0)
        # Tokens rise by chance, too.
        holders = [row for rows in found.values() for row in rows if row.get("token") is not None]
        tokens = sorted({row["token"] for row in holders})
        for row in holders:
            row["token"] = tokens.index(row["token"])
    return found


def wipe(engine: Engine) -> None:
    """Make the outbox what it was when it was created."""
    tables = [f"shipper_{name}" for name in ("outbox", "claim", "attempt", "destination", "hold")]
    with writing(engine) as tx:
        for name in tables:
            tx.exec_driver_sql(f"DELETE FROM {name}")
        if engine.dialect.name == "postgresql":  # TRUNCATE takes ten times as long
            tx.exec_driver_sql("ALTER TABLE shipper_outbox ALTER COLUMN id RESTART")
        else:
            tx.exec_driver_sql("DELETE FROM sqlite_sequence")
        numbers = " token = 0, turn = 0, claim = 0, delivery = 0"
        if engine.dialect.name == "postgresql":
            tx.exec_driver_sql("DELETE FROM shipper_count")
            tx.exec_driver_sql("DELETE FROM shipper_turn")
            tx.exec_driver_sql("DELETE FROM shipper_link")
            tx.exec_driver_sql("DELETE FROM shipper_daemon")
            tx.exec_driver_sql("UPDATE shipper_shard SET token = NULL")
            tx.exec_driver_sql("SELECT setval('shipper_delivery', 1, false)")
            tx.exec_driver_sql("INSERT INTO shipper_turn (turn, token) VALUES (0, 0)")
            numbers = " token = 0, epoch = 0"
        tx.exec_driver_sql(
            f"UPDATE shipper_lease SET{numbers}, generation = 0, owner = NULL, expires_at = NULL"
        )


# -- what came of a try ---------------------------------------------------------------------------


def accepted(event: Event, **more: Any) -> Record:
    """Return that an event was delivered."""
    values: dict[str, Any] = {"status_code": 202} | more
    return Record(event, delivered(event.attempts), NOW, **values)


def refused(event: Event, **more: Any) -> Record:
    """Return that an event died."""
    return _failed(event, dead_letter(event.attempts), 400, **more)


def failed(event: Event, wait: float = 0.0, *, maybe: bool = False, **more: Any) -> Record:
    """Return that an event failed and stays, for `wait` seconds."""
    verdict = postponed(event.attempts + 1, wait, charged=True, maybe_received=maybe)
    return _failed(event, verdict, 500, next_attempt_at=NOW + wait, **more)


def _failed(event: Event, verdict: Verdict, status: int, **more: Any) -> Record:
    error = f"http-{status}: HTTP {status}"
    values: dict[str, Any] = {"status_code": status, "error": error, "history": TRY} | more
    return Record(event, verdict, NOW, **values)


TRY = HistoryRow(
    started_at=NOW - 1.5,
    duration_ms=1500,
    outcome="http-400",
    status_code=400,
    error="HTTP 400",
    response_excerpt="no",
    manual=False,
)

# -- signals --------------------------------------------------------------------------------------


def until(what: Callable[[], bool]) -> None:
    """Ask the database again and again until it says yes; fails after `PATIENCE` seconds."""
    overdue = threading.Event()
    with _alarm(overdue):
        while not what():
            assert not overdue.is_set(), "it never came"


@contextmanager
def _alarm(overdue: threading.Event) -> Iterator[None]:
    timer = threading.Timer(PATIENCE, overdue.set)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def settled(looks: Looks) -> Looks:
    """Pulse until nothing is held back: whatever was committed before is shown from now on."""
    until(lambda: not looks.pulse().held_back)
    return looks

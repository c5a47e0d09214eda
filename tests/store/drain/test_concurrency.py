"""Writers and the daemon at the same time: everything is shipped, once, in the order of its key.

Promises 1 and 2 in the guarantees. The daemon here looks only when it was told to, so that a lost
wake-up would leave it waiting.
"""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from shipper.policy.event import Event
from shipper.store.db.dialect import dialect_of
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.drain.look import Looks
from shipper.store.drain.messages import Look
from shipper.store.report.verify import verify
from tests.store.shipping import accepted, ask, claim, claims, record, run, taken, until

WRITERS = 4
TRANSACTIONS = 40
PAGE = 50
KEYS = ("a", "b", "c")

INSERT = text("INSERT INTO shipper_outbox (payload, ordering_key) VALUES ('{}', :key)")


def _write(url: str, writer: int) -> int:
    """Commit transactions of some events each, of keys that all writers share; return how many."""
    engine = open_engine(url, busy_timeout=60.0)
    written = 0
    for number in range(TRANSACTIONS):
        events = 1 + (number + writer) % 3
        with writing(engine) as tx:
            for event in range(events):
                tx.execute(INSERT, {"key": KEYS[(number + event) % len(KEYS)]})
        written += events
    engine.dispose()
    return written


class _Drain:
    """A daemon whose events all arrive."""

    def __init__(self, engine: Engine, *, dies_every: int = 0) -> None:
        self._engine = engine
        self._queue = taken(engine)
        self._looks = Looks(engine)
        self._dies_every = dies_every
        self._pages = 0
        self.shipped: list[Event] = []

    def has_shipped(self, events: int) -> bool:
        """Ship what there is a reason to look for; return whether it is all of so many events."""
        if self._looks.pulse().fresh:
            while rows := self._looks.look(Look("pending", "default", PAGE)):
                self._ship([row.id for row in rows])
        return len(self.shipped) == events

    def _ship(self, ids: list[int]) -> None:
        events = claim(self._queue, *ids)
        self._pages += 1
        if self._dies_every and self._pages % self._dies_every == 0:
            self._queue = taken(self._engine)
            return
        record(self._queue, *(accepted(event) for event in events))
        self.shipped += events

    def stop(self) -> None:
        """Give the outbox back."""
        self._queue.release()


@pytest.mark.parametrize("dies_every", [0, 3], ids=["alive", "dying"])
def test_what_four_write_one_ships_once_and_in_order(
    engine: Engine, database_url: str, dies_every: int
) -> None:
    """Also when it dies again and again between claim and record."""
    drain = _Drain(engine, dies_every=dies_every)
    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(_write, database_url, number) for number in range(WRITERS)]
        while not all(writer.done() for writer in writers):
            drain.has_shipped(0)
    written = sum(writer.result() for writer in writers)
    until(lambda: drain.has_shipped(written))
    drain.stop()

    ids = [event.id for event in drain.shipped]
    assert len(set(ids)) == written
    of_key = defaultdict(list)
    for event in drain.shipped:
        of_key[event.ordering_key].append(event.id)
    assert all(lane == sorted(lane) for lane in of_key.values())
    assert ask(engine, "SELECT id FROM shipper_outbox ORDER BY delivery_number") == [
        (row,) for row in ids
    ]
    assert claims(engine) == []
    assert [finding for finding in verify(engine) if finding.fault] == []


def test_an_operator_and_the_daemon_keep_the_counters_together(
    engine: Engine, database_url: str
) -> None:
    """Both move the same counters at the same time, and no move is lost."""
    total = 200
    for _ in range(total):
        run(engine, "INSERT INTO shipper_outbox (payload) VALUES ('{}')")

    def discard_half() -> None:
        other = open_engine(database_url, busy_timeout=60.0)
        for row in range(1, total + 1, 2):
            with writing(other) as tx:
                tx.execute(text("UPDATE shipper_lease SET generation = generation + 1"))
                moved = tx.execute(
                    text(
                        "UPDATE shipper_outbox SET status = 'discarded'"
                        " WHERE id = :id AND status = 'pending'"
                    ),
                    {"id": row},
                ).rowcount
                tx.execute(
                    text(
                        "INSERT INTO shipper_destination (name, discarded) VALUES ('default', :n)"
                        " ON CONFLICT (name) DO UPDATE SET"
                        " discarded = shipper_destination.discarded + :n"
                    ),
                    {"n": moved},
                )
        other.dispose()

    queue = taken(engine)
    with ThreadPoolExecutor(1) as pool:
        operator = pool.submit(discard_half)
        for first in range(1, total + 1, 10):
            events = claim(queue, *range(first, first + 10))
            record(queue, *(accepted(event) for event in events))
        operator.result()
    assert [finding for finding in verify(engine) if finding.fault] == []
    counters = dialect_of(engine).counters
    [counts] = ask(engine, f"SELECT delivered, discarded FROM {counters}")
    assert sum(counts) == total

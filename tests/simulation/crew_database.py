"""The real PostgreSQL store of several daemons on virtual time: one database, and what can go wrong.

It decides when a daemon's work on the database runs, and where that fails: before a transaction,
or after its commit. Before each transaction another daemon's work may run first, so that all
orders of transactions are met. The database keeps a diary: a trigger writes each change of a
status or a budget, and whether the daemon that made it was one of the outbox at that moment.
No transaction is open while virtual time passes, but those of applications.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, TypeVar

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Engine, event, make_url

from shipper.errors import StoreUnavailable
from shipper.store.db import transactions
from shipper.store.db.engine import open_engine
from shipper.system.steps import Mark, Steps

T = TypeVar("T")

_TABLES = (
    "shipper_outbox", "shipper_attempt", "shipper_claim", "shipper_count", "shipper_daemon",
    "shipper_destination", "shipper_hold", "shipper_link", "shipper_minute", "shipper_touched",
    "shipper_turn", "shipper_gone",
)  # fmt: skip
_DIARY = (
    "CREATE TABLE diary (number bigint GENERATED ALWAYS AS IDENTITY, who int, is_one boolean,"
    " id bigint, before text, after text, attempts_before int, attempts_after int)",
    "CREATE FUNCTION keep_diary() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE it int ="
    " coalesce(nullif(current_setting('crew.who', true), ''), '0'); BEGIN INSERT INTO diary"
    " (who, is_one, id, before, after, attempts_before, attempts_after) VALUES (it, it = 0 OR"
    " EXISTS (SELECT 1 FROM shipper_daemon WHERE CAST(CAST(owner AS json) ->> 'pid' AS int) = it),"
    " NEW.id, OLD.status, NEW.status, OLD.attempts, NEW.attempts); RETURN NULL; END $$",
    "CREATE TRIGGER keep_diary AFTER UPDATE ON shipper_outbox FOR EACH ROW WHEN"
    " (OLD.status IS DISTINCT FROM NEW.status OR OLD.attempts IS DISTINCT FROM NEW.attempts)"
    " EXECUTE FUNCTION keep_diary()",
)


class Server:
    """One database for all seeds, with engines that are kept from one seed to the next."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._plain = make_url(url).set(drivername="postgresql").render_as_string(False)
        self.reader: psycopg.Connection[Any] = self.connect()
        self._engines: list[Engine] = []
        self._used = 0
        self._whose: dict[int, int] = {}
        self.operator = open_engine(url)
        for statement in _DIARY:
            self.reader.execute(statement.encode())
        for table in (*_TABLES, "shipper_lease", "shipper_shard", "diary"):
            self.reader.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)".encode())
        self.seeds = 0

    def connect(self) -> "psycopg.Connection[Any]":
        """Return a connection of our own."""
        return psycopg.connect(self._plain, autocommit=True, row_factory=tuple_row)

    def empty(self) -> None:
        """Make the outbox as it was before the first seed."""
        self._used = 0
        for table in (*_TABLES, "diary"):
            self.reader.execute(f"DELETE FROM {table}".encode())
        for statement in _AS_AT_FIRST:
            self.reader.execute(statement.encode())
        self.seeds += 1
        if self.seeds % 10 == 0:
            self.reader.execute(b"VACUUM")

    def engine(self, who: int) -> Engine:
        """Return an engine that no other daemon of this seed uses."""
        if self._used == len(self._engines):
            fresh = open_engine(self.url)
            event.listen(fresh, "connect", lambda driver, _: self._introduce(driver, fresh))
            self._engines.append(fresh)
        engine = self._engines[self._used]
        self._whose[id(engine)] = who
        self._used += 1
        engine.get_execution_options()["kept"]._also.clear()
        with transactions.glancing(engine) as tx:
            tx.exec_driver_sql(f"SET crew.who = '{who}'")
        return engine

    def _introduce(self, driver: Any, engine: Engine) -> None:
        driver.execute(f"SET crew.who = '{self._whose[id(engine)]}'")
        driver.commit()

    def close(self) -> None:
        """Close everything."""
        for engine in (*self._engines, self.operator):
            engine.dispose()
        self.reader.close()


_AS_AT_FIRST = (
    "UPDATE shipper_shard SET token = NULL",
    "DELETE FROM shipper_lease",
    "INSERT INTO shipper_lease (name) VALUES ('outbox')",
    "INSERT INTO shipper_turn (token, turn, settled) VALUES (0, 0, 0)",
    "SELECT setval('shipper_outbox_id_seq', 1, false), setval('shipper_delivery', 1, false),"
    " setval('diary_number_seq', 1, false)",
)


class Wire:
    """One daemon's way to the database: cut or not, and which transaction of it fails."""

    def __init__(self, name: int, dice: random.Random) -> None:
        self.name = name
        self.dice = dice
        self.gone = False
        self.is_cut = False
        self.fails_before = 0
        """How many of its next transactions fail before they begin."""
        self.fails_after = 0
        """How many fail after they have committed: only the answer is lost."""
        self.dies_in: int | None = None
        """Before which of its next transactions the process dies."""
        self.die: Callable[[], None] = lambda: None
        self.hurt: Callable[[], None] = lambda: None
        """Called when a transaction fails."""
        self.others: Callable[[], None] = lambda: None

    def before(self) -> None:
        """Let others go first, or fail, as a transaction is about to begin."""
        self.others()
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in <= 0:
                self.dies_in = None
                self.die()
        if self.gone:
            raise StoreUnavailable("the process is gone")
        if self.is_cut or self.fails_before > 0:
            self.fails_before = max(0, self.fails_before - 1)
            self.hurt()
            raise StoreUnavailable("no way to the server")

    def after(self) -> None:
        """Lose the answer to a commit."""
        if self.is_cut or self.fails_after > 0:
            self.fails_after = max(0, self.fails_after - 1)
            self.hurt()
            raise StoreUnavailable("the answer was lost")


_WIRES: dict[int, Wire] = {}


def attach(engine: Engine, wire: Wire) -> None:
    """Have all transactions of an engine go through a wire."""
    kept = engine.get_execution_options()["kept"]
    kept.look_also(wire.before, lambda: True)
    _WIRES[id(engine)] = wire


@contextmanager
def losing_answers() -> Iterator[dict[str, Any]]:
    """Give what stands in for the beginning of a turn's transaction: its answer can be lost."""
    _WIRES.clear()
    original = transactions._pipelined

    @contextmanager
    def pipelined(engine: Engine, *rest: Any) -> Iterator[Any]:
        with original(engine, *rest) as channel:
            yield channel
        wire = _WIRES.get(id(engine))
        if wire is not None:
            wire.after()

    yield {"_pipelined": pipelined}
    _WIRES.clear()


class CrewRunner:
    """Runs a daemon's work in steps, with virtual time between those that may wait."""

    def __init__(self, thread: "WorkQueue") -> None:
        self._thread = thread

    async def __call__(self, work: Callable[[], Steps[T]]) -> T:
        """Run the steps of `work`; return what they return, or raise what they raise."""
        steps = work()

        def step() -> tuple[bool, Any]:
            while True:
                try:
                    mark = next(steps)
                except StopIteration as end:
                    return True, end.value
                if mark is not Mark.COMMIT:
                    return False, None

        while True:
            ended, value = await self._thread.run(step)
            if ended:
                result: T = value
                return result


class WorkQueue:
    """A daemon's thread for the database, without a thread; its work may be done before its time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wire: Wire, slow: float) -> None:
        self._loop = loop
        self._wire = wire
        self._slow = slow
        self._waiting: tuple[Callable[[], Any], asyncio.Future[Any], Context] | None = None
        self.is_at_work = False
        self.is_stopped: Callable[[], bool] = lambda: False

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` a virtual while later; its answer comes a virtual while after that."""
        if self._wire.gone:
            raise StoreUnavailable("the process is gone")
        done: asyncio.Future[T] = self._loop.create_future()
        self._waiting = (work, done, copy_context())
        self._loop.call_later(self._while(), self.do)
        return await done

    def _while(self) -> float:
        dice = self._wire.dice
        return dice.uniform(0.0, self._slow) if dice.random() < 0.3 else 0.0005

    def do(self) -> None:
        """Do the work that waits, if there is any that isn't done."""
        waiting, self._waiting = self._waiting, None
        if waiting is None or self._wire.gone or waiting[1].cancelled():
            return
        work, done, context = waiting
        self.is_at_work = True
        try:
            answer, value = done.set_result, work()
        except Exception as error:  # noqa: BLE001 - the caller gets whatever is raised
            answer, value = done.set_exception, error
        self.is_at_work = False
        self._loop.call_later(self._while(), self._tell, done, answer, value, context=context)

    def do_early(self) -> None:
        """Do it while another daemon is about to begin a transaction."""
        if not self.is_at_work and not self.is_stopped():
            self.do()

    def _tell(
        self, done: "asyncio.Future[Any]", answer: Callable[[Any], None], value: object
    ) -> None:
        if not done.done() and not self._wire.gone:
            answer(value)

"""The real SQLite store on virtual time: its file, its thread, and what can go wrong with it.

The daemon's engine is the product's own; only the moments around a statement and a commit are
ours, where a failure is raised or another program gets a turn. The file keeps a diary of its own (a
trigger writes every change of a status, a budget or the lease), so that no change escapes the invariants.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, event

from shipper.daemon.database_thread import DatabaseThread
from shipper.errors import DatabaseAbandoned, StoreUnavailable
from shipper.store.db.engine import open_engine
from shipper.store.db.sqlite.opening import connect_sqlite
from shipper.store.upgrade.migrate import upgrade

T = TypeVar("T")

_DIARY = (
    "CREATE TABLE diary (number INTEGER PRIMARY KEY, at REAL, who INTEGER, id INTEGER,"
    " before TEXT, after TEXT, attempts_before INTEGER, attempts_after INTEGER)",
    "CREATE TRIGGER keep_diary AFTER UPDATE OF status, attempts ON shipper_outbox BEGIN"
    " INSERT INTO diary (at, who, id, before, after, attempts_before, attempts_after) VALUES"
    " (diary_now(), diary_who(), NEW.id, OLD.status, NEW.status, OLD.attempts, NEW.attempts);"
    " END",
    "CREATE TABLE reign (number INTEGER PRIMARY KEY, at REAL, who INTEGER, takes INTEGER)",
    "CREATE TRIGGER keep_reign AFTER UPDATE OF token, turn ON shipper_lease BEGIN"
    " INSERT INTO reign (at, who, takes) VALUES (diary_now(), diary_who(),"
    " NEW.token > OLD.token AND NEW.owner IS NOT NULL); END",
)

# sqlite.org/rescode.html
CODES = {"disk full": 13, "I/O error": 10, "fsync failed": 1034, "read-only": 8, "no table": 1}


def _memory() -> Path | None:
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else None


@cache
def _template() -> bytes:
    """Return a migrated file with a diary in it."""
    with tempfile.TemporaryDirectory(dir=_memory()) as directory:
        path = Path(directory) / "shop.db"
        engine = open_engine(f"sqlite:///{path}", create=True)
        upgrade(engine)
        engine.dispose()
        connection = connect_sqlite(path, busy_timeout=0.0)
        for statement in _DIARY:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return path.read_bytes()


@contextmanager
def fresh_file() -> Iterator[Path]:
    """Give a file with an empty outbox, in memory where the machine has a place for that."""
    directory = Path(tempfile.mkdtemp(prefix="shipper-simulation-", dir=_memory()))
    try:
        path = directory / "shop.db"
        path.write_bytes(_template())
        yield path
    finally:
        shutil.rmtree(directory)


@dataclass(slots=True)
class Fault:
    """A failure of the database: from its `at`-th operation on, so many times.

    With `told_late` a commit fails although it took effect: only its answer is lost.
    """

    at: int
    times: int
    kind: str
    told_late: bool = False


@dataclass
class Disk:
    """Counts what a process does with the database, and fails where the scenario says."""

    now: Callable[[], float]
    who: int
    faults: list[Fault] = field(default_factory=list)
    happened: Callable[[str], None] = lambda _: None
    between: Callable[[], None] = lambda: None
    operations: int = 0
    gone: bool = False
    connections: list[Any] = field(default_factory=list)
    in_use: dict[int, Any] = field(default_factory=dict)

    def open(self, url: str) -> Engine:
        """Return the product's engine, with us between it and its driver."""
        engine = open_engine(url, busy_timeout=0.0)
        dialect: Any = engine.dialect
        execute, executemany, commit = dialect.do_execute, dialect.do_executemany, dialect.do_commit

        def do_execute(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            self._before(cursor.connection, engine)
            execute(cursor, statement, parameters, context)

        def do_executemany(
            cursor: Any, statement: str, parameters: Any, context: Any = None
        ) -> None:
            self._before(cursor.connection, engine)
            executemany(cursor, statement, parameters, context)

        def do_commit(connection: Any) -> None:
            fault = self._due()
            if fault is not None and not fault.told_late:
                raise self._error(fault, engine)
            commit(connection)
            if fault is not None:
                raise self._error(fault, engine)

        dialect.do_execute = do_execute
        dialect.do_executemany = do_executemany
        dialect.do_commit = do_commit
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "close", self._closed)
        event.listen(engine, "checkout", self._taken_out)
        event.listen(engine, "checkin", self._put_back)
        return engine

    def _connected(self, connection: Any, _record: object) -> None:
        self.connections.append(connection)
        diarise(connection, self.now, self.who)

    def _closed(self, connection: Any, _record: object) -> None:
        self.connections.remove(connection)

    def _taken_out(self, _connection: Any, record: object, proxy: Any) -> None:
        self.in_use[id(record)] = proxy

    def _put_back(self, _connection: Any, record: object) -> None:
        self.in_use.pop(id(record), None)

    def _before(self, connection: Any, engine: Engine) -> None:
        if not connection.in_transaction:
            self.between()
        fault = self._due()
        if fault is not None:
            raise self._error(fault, engine)

    def _due(self) -> Fault | None:
        self.operations += 1
        for fault in self.faults:
            if self.operations >= fault.at and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _error(self, fault: Fault, engine: Engine) -> Exception:
        self.happened(fault.kind + (" after the commit" if fault.told_late else ""))
        error: Exception = engine.dialect.dbapi.OperationalError(fault.kind)  # type: ignore[union-attr]
        error.sqlite_errorcode = CODES[fault.kind]  # type: ignore[attr-defined]
        return error

    def commits_are_durable(self) -> bool:
        """Return whether SQLite syncs every commit of this process before it says so."""
        full = 2
        levels = [c.execute("PRAGMA synchronous").fetchone()[0] for c in self.connections]
        return all(level >= full for level in levels)

    def vanish(self) -> None:
        """Let go of everything as the kernel does when a process dies: what is open is undone."""
        self.gone = True
        for proxy in list(self.in_use.values()):
            proxy.invalidate()  # else the pool would wait for it, and nothing of us ever go away
        for connection in tuple(self.connections):
            connection.close()
        self.connections.clear()


def diarise(connection: Any, now: Callable[[], float], who: int) -> None:
    """Tell the diary of a connection's changes when they were made, and by whom."""
    connection.create_function("diary_now", 0, now)
    connection.create_function("diary_who", 0, lambda: who)
    connection.execute("PRAGMA trusted_schema = ON")  # the diary's triggers call them


class InlineThread(DatabaseThread):
    """The database's thread without a thread: work is done at once, or a virtual while later.

    `delays` gives the seconds until the work is done, and from then until that is known.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        disk: Disk,
        delays: Callable[[], tuple[float, float]],
        done: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._disk = disk
        self._delays = delays
        self._on_done = done
        self._given_up: DatabaseAbandoned | None = None
        self._at_work = 0

    @property
    def is_idle(self) -> bool:
        """Whether no work is on its way."""
        return not self._at_work and self._given_up is None and not self._disk.gone

    async def run(self, work: Callable[[], T], *, has_begun: bool = False) -> T:
        """Do `work`, unless the process dies before."""
        if self._disk.gone:
            raise StoreUnavailable("the process is gone")
        if self._given_up is not None:
            raise self._given_up
        future: Future[T] = Future()
        before, after = self._delays()
        self._at_work += 1
        self._later(before, self._do, future, after, work, has_begun)
        return await asyncio.wrap_future(future)

    def abandon(self, error: DatabaseAbandoned) -> None:
        """Answer every question with this error from now on."""
        self._given_up = error

    def close(self) -> None:
        """End; there is nothing to wait for."""

    def _later(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        if seconds > 0:
            self._loop.call_later(seconds, what, *args)
        else:
            what(*args)

    def _do(
        self,
        future: Future[T],
        after: float,
        work: Callable[[], T],
        has_begun: bool,  # noqa: FBT001
    ) -> None:
        self._at_work -= 1
        if self._disk.gone or not (future.set_running_or_notify_cancel() or has_begun):
            return
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - an executor hands on whatever is raised
            self._later(after, self._tell, future, future.set_exception, error)
        else:
            self._later(after, self._tell, future, future.set_result, result)
        self._on_done()

    @staticmethod
    def _tell(future: Future[T], answer: Callable[[Any], None], value: object) -> None:
        if not future.cancelled():
            answer(value)


class DicedSwiftness:
    """Says at random whether a step may run in the loop: so every order of steps is met."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def is_swift(self, _now: float) -> bool:
        """Throw the dice."""
        return self._dice.random() < 0.5

    def took(self, _seconds: float, _now: float) -> None:
        """Forget it."""

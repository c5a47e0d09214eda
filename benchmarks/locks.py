"""How long each command keeps an application from writing: `python -m benchmarks.locks [ROWS]`.

The outbox has a million rows on SQLite. A command works on all of them, while an application writes
all the time from another process. The output is the command's longest writing transaction and the
application's longest wait for one INSERT, in milliseconds, and the memory that the command needed.
"""

import multiprocessing
import resource
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Engine
from sqlalchemy.event import listen

from shipper.store.db.engine import open_engine
from shipper.store.db.selection import Selection
from shipper.store.operate import backup, dead_letters, discard, enqueue, move, reroute
from shipper.store.operate.move import MovedEvent
from shipper.store.report import verify as audit
from shipper.store.schema import revisions
from shipper.store.schema.ddl import statements
from shipper.store.upgrade import migrate, recount
from shipper.store.upkeep import retention, sqlite_file

ROWS = 1_000_000
ALL, PENDING = Selection(), Selection(status="pending")
NOW = 1_795_766_400.0
_TEXT = "x" * 200
PAYLOAD = f'{{"type":"view","context":[{{"type":"user","user":{{"id":"u"}}}}],"padding":"{_TEXT}"}}'

Work: TypeAlias = Callable[[Engine, Path, int], object]


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def _fill(path: Path, rows: int, status: str, *, keyless: bool = False) -> None:
    """Make an outbox with `rows` events of a status; each dead one has a failed try and a hold."""
    connection = sqlite3.connect(path, isolation_level=None)
    ended = status != "pending"
    connection.execute("PRAGMA synchronous = OFF")
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("BEGIN")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO shipper_outbox (payload, ordering_key, status, delivered_at, delivery_number,"
        " last_error, created_at) SELECT ?, iif(?, NULL, 'k' || i), ?, iif(?, ?, NULL),"
        " iif(?, i, NULL), iif(?, 'http-400', NULL), '2020-01-01T00:00:00.000Z' FROM n",
        (
            *(rows, PAYLOAD, keyless, status, status == "delivered", "2020-01-01T00:00:00.000Z"),
            *(ended, status == "dead"),
        ),
    )
    connection.execute(
        "INSERT INTO shipper_attempt (outbox_id, event_id, started_at, duration_ms, outcome)"
        " SELECT id, event_id, created_at, 1, 'http-400' FROM shipper_outbox WHERE status = 'dead'"
    )
    connection.execute(
        "INSERT INTO shipper_hold (destination, ordering_key, cause, event_id)"
        " SELECT destination, ordering_key, 'dead_letter', event_id FROM shipper_outbox"
        " WHERE status = 'dead' AND id % 2 = 0"
    )
    if ended:
        connection.execute(
            f"INSERT INTO shipper_destination (name, {status}) VALUES ('default', ?)", (rows,)
        )
        connection.execute("UPDATE shipper_lease SET delivery = ?", (rows,))
    for _, sql in triggers:
        connection.execute(sql)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


def _new(path: Path, revision: str | None = None) -> None:
    if revision is None:
        engine = open_engine(_url(path), create=True)
        migrate.upgrade(engine)
        engine.dispose()
        return
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    for one in revisions.REVISIONS[: revisions.REVISIONS.index(revision) + 1]:
        for statement in statements(one, "sqlite"):
            connection.execute(statement)
    connection.execute(f"CREATE TABLE {revisions.VERSION_TABLE} (version_num TEXT PRIMARY KEY)")
    connection.execute(f"INSERT INTO {revisions.VERSION_TABLE} VALUES (?)", (revision,))
    connection.commit()
    connection.close()


def _carried(rows: int) -> Iterator[MovedEvent]:
    for n in range(rows):
        yield MovedEvent(n, f"e{n}", "default", f"k{n}", NOW, "pending", False, PAYLOAD.encode())


def _exhaust(steps: Any) -> None:
    for _ in steps:
        pass


def _unhurried(steps: Any) -> None:
    """Pause after each step for as long as it took, as `shipper prune` does."""
    pause, began = threading.Event(), time.monotonic()
    for _ in steps:
        pause.wait(max(0.01, time.monotonic() - began))
        began = time.monotonic()


def _enqueue(engine: Engine, _: Path, rows: int) -> None:
    of = enqueue.begin(engine, "bench", NOW)
    events = (enqueue.NewEvent(PAYLOAD, "default", f"k{n}") for n in range(rows))
    _exhaust(enqueue.enqueue_many(engine, events, of))


def _prune(engine: Engine, _: Path, __: int) -> None:
    cutoffs = retention.Cutoffs.at(NOW, delivered=1.0, dead=1.0)
    _unhurried(retention.prune(engine, cutoffs, time.monotonic))
    _unhurried(sqlite_file.give_back(engine))
    sqlite_file.checkpoint(engine)


def _recount(engine: Engine, _: Path, __: int) -> None:
    with engine.begin() as tx:
        tx.exec_driver_sql("UPDATE shipper_destination SET delivered = 7")
    recount.recount(engine)


def _reader_then_checkpoint(engine: Engine, path: Path, _: int) -> None:
    reader, pause = sqlite3.connect(path, isolation_level=None), threading.Event()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM shipper_lease").fetchone()
    for _ in range(200):
        with engine.begin() as tx:
            payload = '{"padding":"%s"}' % ("x" * 1_000_000)
            tx.exec_driver_sql("INSERT INTO shipper_outbox (payload) VALUES (?)", (payload,))
        pause.wait(0.02)
    reader.close()
    sqlite_file.checkpoint(engine)


# What it is about, the status of the rows that are there (None for none), and the work.
WORK: dict[str, tuple[str | None, Work]] = {
    "start of the daemon, 0005 to head": ("old", lambda e, _, __: migrate.prepare(e)),
    "db upgrade, 1 M events without a key": ("keyless", lambda e, _, __: migrate.fix(e)),
    "enqueue": (None, _enqueue),
    "enqueue --rows": (None, lambda e, _, n: move.move_in(e, _carried(n))),
    "events export --hand-over": (
        "pending",
        lambda e, p, _: move.move_out(e, PENDING, p, _exhaust),
    ),
    "events discard": ("pending", lambda e, _, __: _exhaust(discard.discard_pending(e, ALL))),
    "events reroute": ("pending", lambda e, _, __: _exhaust(reroute.reroute(e, ALL, "b", NOW))),
    "dead retry, half of them hold": ("dead", lambda e, _, __: dead_letters.retry(e, ALL, NOW)),
    "dead discard, half of them hold": ("dead", lambda e, _, __: dead_letters.discard(e, ALL, NOW)),
    "prune": ("delivered", _prune),
    "verify": ("delivered", lambda e, _, __: audit.verify(e)),
    "verify --recount": ("delivered", _recount),
    "backup": ("pending", lambda _, p, __: backup.back_up(p, p.with_suffix(".copy"))),
    "checkpoint of 200 MB": (None, _reader_then_checkpoint),
}


class _Stopwatch:
    """The longest transaction that writes."""

    def __init__(self, engine: Engine) -> None:
        self.longest = 0.0
        self._began: float | None = None
        listen(engine, "begin", self._begin)
        listen(engine, "commit", self._end)
        listen(engine, "rollback", self._end)

    def _begin(self, connection: Any) -> None:
        if connection.get_execution_options().get("mode") == "write":
            self._began = time.monotonic()

    def _end(self, _: Any) -> None:
        if self._began is not None:
            self.longest = max(self.longest, time.monotonic() - self._began)
            self._began = None


def _application(path: Path, ready: Event, stop: Event, longest: Any) -> None:
    """Write events one by one, as an application in Python does, and note the longest wait."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    # Otherwise it would measure its own checkpoints of the WAL.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    while not stop.is_set():
        began = time.monotonic()
        with suppress(sqlite3.OperationalError):
            connection.execute("INSERT INTO shipper_outbox (payload) VALUES ('{}')")
        longest.value = max(longest.value, time.monotonic() - began)
        ready.set()
        stop.wait(0.005)
    connection.close()


@contextmanager
def _writing(path: Path) -> Iterator[Any]:
    ready, stop = multiprocessing.Event(), multiprocessing.Event()
    longest = multiprocessing.Value("d", 0.0)
    process = multiprocessing.Process(target=_application, args=(path, ready, stop, longest))
    process.start()
    ready.wait()
    longest.value = 0.0
    try:
        yield longest
    finally:
        stop.set()
        process.join()


def _measure(base: Path, path: Path, work: Work, rows: int, answer: Any) -> None:
    """Do the work in a new process, so that only its memory is measured."""
    shutil.copy(base, path)
    engine = open_engine(_url(path))
    watch = _Stopwatch(engine)
    with _writing(path) as waited:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        work(engine, path, rows)
        seconds = time.monotonic() - began
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    engine.dispose()
    answer.put((watch.longest, waited.value, grown / 1024, seconds))


def main() -> None:
    """Measure, and print one line per command."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    wanted = sys.argv[2:]
    print(f"{'command':40}{'longest':>9}{'INSERT':>9}{'memory':>9}{'in all':>9}")
    print(f"{'':40}{'tx, ms':>9}{'ms':>9}{'MiB':>9}{'s':>9}")
    multiprocessing.set_start_method("spawn")
    with tempfile.TemporaryDirectory() as directory:
        bases: dict[str | None, Path] = {}
        for name, (status, _) in WORK.items():
            if wanted and not any(word in name for word in wanted):
                continue
            if status not in bases:
                bases[status] = Path(directory) / f"{status}.db"
                _new(bases[status], "0005" if status == "old" else None)
                kind = {"old": "delivered", "keyless": "pending"}.get(str(status), status)
                if kind is not None:
                    _fill(bases[status], rows, kind, keyless=status == "keyless")
            _report(name, bases[status], rows)


def _report(name: str, base: Path, rows: int) -> None:
    path = base.with_name("work.db")
    answer: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=_run, args=(base, path, name, rows, answer))
    process.start()
    held, waited, memory, seconds = answer.get()
    process.join()
    print(f"{name:40}{held * 1e3:9.1f}{waited * 1e3:9.1f}{memory:9.1f}{seconds:9.1f}", flush=True)
    for file in path.parent.glob("work.*"):
        file.unlink()


def _run(base: Path, path: Path, name: str, rows: int, answer: Any) -> None:
    _measure(base, path, WORK[name][1], rows, answer)


if __name__ == "__main__":
    main()

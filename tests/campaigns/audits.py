"""`shipper verify` on a large outbox, while a daemon ships and applications write to it.

What has to be true: it ends within its bound, finds nothing, and nobody feels it. The receiver is
never left without events for long, no application waits for its commit, and the write-ahead log
stays small although somebody reads for seconds.
"""

import asyncio
import resource
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.upkeep.sqlite_file import checkpoint, wal_bytes
from tests.campaigns.crashes import Outcry, outcry
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher
from tests.daemon.processes import until

_SILENCE_MOST = 2.0
_COMMIT_MOST = 2.0
_WAL_MOST = 64.0
_SOME = 100
_PACE = 0.02  # seconds between an application's transactions
_CHUNK = 100_000

# Of a hundred events two are dead, and one was delivered at its second try.
_FILL = (
    "INSERT INTO shipper_outbox (payload, ordering_key, event_id, status, attempts, delivered_at,"
    " last_error, delivery_number) {numbers} SELECT {payload}, 'k' || n % 50000, 'old-' || n,"
    " CASE n % 50 WHEN 7 THEN 'dead' ELSE 'delivered' END, 0,"
    " CASE n % 50 WHEN 7 THEN NULL ELSE {now} END,"
    " CASE n % 50 WHEN 7 THEN 'http-422: HTTP 422' END, n FROM n"
)
_PAYLOAD = '\'{"type":"order","order":{"n":\' || n || \',"note":"' + "x" * 230 + "\"}}'"
_WORDS = {
    True: {
        "numbers": (
            "WITH RECURSIVE n (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM n WHERE n < :last)"
        ),
        "payload": _PAYLOAD,
        "now": "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    },
    False: {
        "numbers": "WITH n AS (SELECT generate_series(CAST(:first AS int), :last) AS n)",
        "payload": f"CAST({_PAYLOAD} AS json)",
        "now": "now()",
    },
}
_ALONE = text('INSERT INTO shipper_outbox (payload) VALUES (\'{"type":"view","view":{}}\')')
_TRIES = (
    "INSERT INTO shipper_attempt (outbox_id, event_id, started_at, duration_ms, outcome)"
    " SELECT id, event_id, created_at, 12, CASE status WHEN 'dead' THEN 'http-422'"
    " ELSE 'http-500' END FROM shipper_outbox WHERE id % 100 = 1 OR status = 'dead'"
)
_COUNTERS = (
    (
        "INSERT INTO shipper_destination (name, delivered, dead) SELECT 'default',"
        " sum(CASE status WHEN 'delivered' THEN 1 ELSE 0 END),"
        " sum(CASE status WHEN 'dead' THEN 1 ELSE 0 END) FROM shipper_outbox"
    ),
)
_GIVEN = {
    True: "UPDATE shipper_lease SET delivery = (SELECT max(delivery_number) FROM shipper_outbox)",
    False: "SELECT setval('shipper_delivery', max(delivery_number) + 1, false) FROM shipper_outbox",
}


async def audits(
    url: str, directory: Path, *, rows: int, times: int, most: float, seed: int
) -> Figures:
    """Verify an outbox of so many rows so many times, in `most` seconds each."""
    figures = Figures(f"verify of {rows:,} rows, {url.partition(':')[0].partition('+')[0]}", seed)
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(outcry(url, directory))
        scene.shop.configure(timeout=5.0, log_level="warning")
        await asyncio.to_thread(_fill, scene, rows)
        launcher = await stack.enter_async_context(Launcher(directory, warm=False))
        daemon = await launcher.start("run", "-c", str(scene.shop.config))
        await scene.start_writers()
        await until(lambda: len(scene.books.moments) > 100)
        for _ in range(times):
            # As much work with nobody reading, for comparison.
            await _watched(scene, figures, "without verify", _left_alone(scene))
            await _watched(scene, figures, "beside verify", _verify(scene, launcher, figures, most))
        await scene.stop_writers()
        await scene.settle(daemon, figures)
    return figures


def _fill(scene: Outcry, rows: int) -> None:
    statement = _FILL.format_map(_WORDS[scene.shop.is_sqlite])
    for first in range(1, rows + 1, _CHUNK):
        scene.shop.execute(statement, first=first, last=min(first + _CHUNK - 1, rows))
    for statement in (_TRIES, *_COUNTERS, _GIVEN[scene.shop.is_sqlite], "ANALYZE shipper_outbox"):
        scene.shop.execute(statement)
    if scene.shop.is_sqlite:
        with opened(scene.shop.url) as engine:
            checkpoint(engine)


async def _left_alone(scene: Outcry) -> None:
    """Wait until the receiver has had some more."""
    moments = scene.books.moments
    some = len(moments) + _SOME
    await until(lambda: len(moments) >= some)


async def _verify(scene: Outcry, launcher: Launcher, figures: Figures, most: float) -> None:
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = await launcher.start("verify", "-c", str(scene.shop.config))
    figures.expect(await process.ended(300.0) == 0, process.stdout + process.stderr)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    figures.measure("seconds of verify", took)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures.measure("seconds of its own CPU time", used)
    figures.expect(took <= most, f"it took {took:.1f} s, and not {most:.1f} s")
    figures.tried["audits"] += 1


async def _watched(
    scene: Outcry, figures: Figures, when: str, work: Coroutine[Any, Any, None]
) -> None:
    """Do some work, and measure meanwhile what applications and the receiver feel of it."""
    over, enough, moments = asyncio.Event(), threading.Event(), scene.books.moments
    before = len(moments) - 1
    application = asyncio.to_thread(_write, scene.shop.url, enough, figures, when)
    applying = asyncio.create_task(application)
    measuring = asyncio.create_task(_measure_wal(scene, over, figures, when))
    await work
    over.set()
    enough.set()
    slowest = await applying
    await measuring
    silence = max(later - earlier for earlier, later in pairwise(moments[before:]))
    figures.measure(f"longest silence at the receiver in seconds, {when}", silence)
    figures.expect(silence <= _SILENCE_MOST, f"{silence:.1f} s without an event {when}")
    figures.expect(slowest <= _COMMIT_MOST, f"an application waited {slowest:.1f} s {when}")


def _write(url: str, enough: threading.Event, figures: Figures, when: str) -> float:
    """Write an event again and again; return the seconds that the slowest transaction took."""
    slowest = 0.0
    with opened(url) as engine:
        while not enough.wait(_PACE):
            began = time.monotonic()
            with writing(engine) as tx:
                tx.execute(_ALONE)
            took = time.monotonic() - began
            figures.measure(f"seconds of an application's transaction, {when}", took)
            slowest = max(slowest, took)
    return slowest


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """Give an engine of its own.

    Not `tests.daemon.application`: two libraries of SQLite in one process undo each other's locks,
    and one that closes takes the log away under the other.
    """
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


async def _measure_wal(scene: Outcry, over: asyncio.Event, figures: Figures, when: str) -> None:
    """Measure how large the write-ahead log becomes."""
    if not scene.shop.is_sqlite:
        return
    path, largest = Path(scene.shop.url.removeprefix("sqlite:///")), 0.0
    while not over.is_set():
        largest = max(largest, wal_bytes(path) / 2**20)
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 0.05)
    figures.measure(f"most megabytes of WAL, {when}", largest)
    figures.expect(largest <= _WAL_MOST, f"{largest:.0f} MB of WAL {when}")

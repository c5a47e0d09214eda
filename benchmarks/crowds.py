"""`python -m benchmarks.crowds`: measure the rate of healthy keys beside a crowd of waiting events.

The outbox has 100,000 events that wait for their next try, are held, or belong to one key; after
them come the healthy events. Each run with a crowd follows a run without it, so that other load on
the machine affects both. The rate counts from the first healthy answer to the last; the time before
it is reported apart. The exit status is 1 if a crowd leaves less than 0.9 of the rate.

It measures the dispatcher with its database, on SQLite; the receiver is a pause in this process.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import product
from math import inf
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from benchmarks import loops
from benchmarks.workload import payload
from shipper.clock import SystemClock, iso
from shipper.config.secrets import Secrets
from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.step_runner import StepRunner
from shipper.drain import Dispatcher, Rhythm, Route, Terms
from shipper.drain.courier import Courier
from shipper.drain.reporter import Reporter
from shipper.drain.tally import Tally
from shipper.logs import open_log
from shipper.policy.backoff import Backoff
from shipper.policy.delivery import RetryPolicy
from shipper.policy.event import Event
from shipper.policy.outcome import Reply
from shipper.store.db.engine import open_engine
from shipper.store.db.transactions import writing
from shipper.store.drain.look import Looks
from shipper.store.drain.queue import Queue
from shipper.store.lease.lease import Owner
from shipper.store.operate import hold
from shipper.store.upgrade.migrate import upgrade

LEAST = 0.9
_KEYS = 1_000
_ANSWERS_AFTER = 0.005
_COMMAND_EVERY = 0.5
_GIVEN_UP_AFTER = 300.0
_MAX_DELAY = 3600.0  # an event that would wait for longer is tried at once
_INSERT = "INSERT INTO shipper_outbox (payload, ordering_key, event_id) VALUES (?, ?, ?)"

CROWDS = {
    "waiting": "keys that wait for their next try",
    "held": "held keys",
    "held key": "events of one held key",
    "hot key": "events of one key that goes on",
}


class Work(NamedTuple):
    """A run: the crowd (or None), its size, the healthy events, whether an operator commands."""

    crowd: str | None
    size: int
    events: int
    commands: bool


class Rate(NamedTuple):
    """Healthy events per second from the first answer on, and the seconds before that answer.

    `crowd` is how many of the crowd were sent meanwhile.
    """

    rate: float
    first: float
    crowd: int


class _Receiver:
    """Accepts everything after a pause, and notes when the healthy events arrive."""

    def __init__(self, events: int) -> None:
        self._events = events
        self.answered = self.crowd = 0
        self.first = self.last = 0.0
        self.done = asyncio.Event()

    def begin(
        self, event: Event, _secrets: Secrets, done: Callable[[Reply], None], _until: float
    ) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(_ANSWERS_AFTER, self._accept, event.event_id, done)

    def _accept(self, event_id: str, done: Callable[[Reply], None]) -> None:
        if event_id.startswith("healthy"):
            self._count()
        else:
            self.crowd += 1
        done(Reply(202))

    def _count(self) -> None:
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.answered += 1
        if self.answered == self._events:
            self.done.set()

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


def _fill(engine: Engine, work: Work) -> None:
    """Write the crowd first, then the healthy events."""
    names = [f"crowd{number}" for number in range(work.size if work.crowd else 0)]
    one_key = work.crowd in {"held key", "hot key"}
    with writing(engine) as tx:
        cursor = tx.connection.cursor()
        cursor.executemany(
            _INSERT, [(payload(0, 0), "crowd" if one_key else name, name) for name in names]
        )
        if work.crowd == "waiting":
            cursor.execute(
                "UPDATE shipper_outbox SET next_attempt_at = ?, attempts = 12,"
                " last_error = 'http-500'",
                (iso(time.time() + _MAX_DELAY / 2),),
            )
        if work.crowd in {"held", "held key"}:
            cursor.execute(
                "INSERT INTO shipper_hold (destination, ordering_key, cause, since) SELECT"
                " destination, ordering_key, 'operator', min(created_at) FROM shipper_outbox"
                " GROUP BY 1, 2"
            )
        healthy = [
            (payload(1, n), f"healthy{n % _KEYS}", f"healthy{n}") for n in range(work.events)
        ]
        cursor.executemany(_INSERT, healthy)


def measure(work: Work) -> Rate:
    """Ship a backlog, in this process."""
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as name:
        url = f"sqlite:///{Path(name) / 'outbox.db'}"
        engine, operators = open_engine(url, create=True), open_engine(url)
        upgrade(engine)
        _fill(engine, work)
        try:
            return loops.run(_ship(engine, work, partial(_command, operators)))
        finally:
            engine.dispose()
            operators.dispose()


def _command(engine: Engine) -> None:
    hold.hold_key(engine, "default", "without events", time.time())
    hold.release_key(engine, "without events", "default")


async def _ship(engine: Engine, work: Work, command: Callable[[], None]) -> Rate:
    clock, thread, receiver = SystemClock(), DatabaseThread(), _Receiver(work.events)
    queue = Queue(engine, lease_ttl=60.0)
    await thread.run(lambda: queue.acquire(Owner.here()))
    dispatcher = Dispatcher(
        queue,
        Looks(engine),
        clock=clock,
        reporter=Reporter(open_log("critical"), Tally(clock.monotonic())),
        database=StepRunner(thread, clock.monotonic, in_loop=False),
        rhythm=Rhythm(0.02, 1.0, inf, 0.0),
    )
    terms = Terms(
        RetryPolicy(Backoff(1, _MAX_DELAY), Backoff(1, 60), 20), 10.0, 64, 0.0, holds_dead=False
    )
    courier = Courier(receiver, validation="envelope", secrets=Secrets, clock=clock)
    dispatcher.add(Route("default", terms, courier, clock=clock, wake=dispatcher.wake))
    stop, began = asyncio.Event(), time.perf_counter()
    drain = asyncio.create_task(dispatcher.run(stop))
    commands = asyncio.create_task(_commands(command)) if work.commands else None
    try:
        async with asyncio.timeout(_GIVEN_UP_AFTER):
            done = asyncio.create_task(receiver.done.wait())
            await asyncio.wait({drain, done}, return_when=asyncio.FIRST_COMPLETED)
        if drain.done():
            await drain
    finally:
        if commands is not None:
            commands.cancel()
            with suppress(asyncio.CancelledError):
                await commands
        stop.set()
        await drain
        thread.close()
    seconds = receiver.last - receiver.first
    return Rate((work.events - 1) / seconds, receiver.first - began, receiver.crowd)


async def _commands(command: Callable[[], None]) -> None:
    while True:
        await asyncio.to_thread(command)
        await asyncio.sleep(_COMMAND_EVERY)


def _apart(work: Work) -> Rate:
    """Measure in a new process, so that nothing of the run before is in its memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(measure, work).result()


def compare(crowd: str, wanted: argparse.Namespace, *, commands: bool) -> float:
    """Measure pairs of runs, print a line, and return the median of their ratios."""
    without, beside = [], []
    for _ in range(wanted.runs):
        without.append(_apart(Work(None, 0, wanted.events, commands)))
        beside.append(_apart(Work(crowd, wanted.crowd, wanted.events, commands)))
    ratios = [b.rate / w.rate for b, w in zip(beside, without, strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"beside {wanted.crowd:,} {CROWDS[crowd]}{', with commands' if commands else ''}:"
        f" {_median(beside):,.0f}/s, without {_median(without):,.0f}/s,"
        f" {ratio:.2f} of it ({min(ratios):.2f} to {max(ratios):.2f}),"
        f" the first after {statistics.median(rate.first for rate in beside):.2f} s",
        flush=True,
    )
    return ratio


def _median(rates: list[Rate]) -> float:
    return statistics.median(rate.rate for rate in rates)


def main() -> int:
    """Measure each crowd, without and with an operator who runs a command twice per second."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowds")
    parser.add_argument("--crowd", type=int, default=100_000, help="how many events")
    parser.add_argument("--events", type=int, default=50_000, help="healthy ones, of 1,000 keys")
    parser.add_argument("--runs", type=int, default=5, help="pairs of each; the median counts")
    parser.add_argument("--kind", nargs="+", choices=CROWDS, default=list(CROWDS))
    wanted = parser.parse_args()
    kinds = product((False, True), wanted.kind)
    ratios = [compare(crowd, wanted, commands=commands) for commands, crowd in kinds]
    return int(min(ratios) < LEAST)


if __name__ == "__main__":
    sys.exit(main())

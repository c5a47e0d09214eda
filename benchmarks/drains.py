"""Measure the shipping of a backlog to its end, and the bare client loops.

The clock runs from the log line `daemon.started` to the record of the last outcome in the counters
of the outbox. The bare loops run just before each run, because a machine differs from minute to
minute: the ratio of the two is the result.
"""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.against import Outcome
from benchmarks.daemon import Daemon, daemon
from benchmarks.databases import Databases
from benchmarks.disks import slowed
from benchmarks.judge import Verdict, judge, read
from benchmarks.processes import ROOT, environment, module
from benchmarks.scenarios import Drain, Reference
from benchmarks.servers import endpoint
from shipper.store.db.engine import open_engine
from shipper.store.report.progress import ended_counts

_POLL = 0.01
# Events per second; if shipping is slower than this, something is wrong.
_SLOWEST = 50.0
_PATIENCE = 60.0
# The loop's rate doesn't depend on the number of events, and it has all of them in memory.
_LOOP_EVENTS = 20_000
# This many events are enough to see that the order is kept.
_JUDGED_EVENTS = 50_000

Profiler = Callable[[Daemon], AbstractContextManager[None]]
Against = Callable[[Drain], list[Outcome]]
"""Returns what another version of shipper reaches; nothing if there is none to compare with."""


class Sample(NamedTuple):
    """How many events had been recorded at a time (seconds since the start)."""

    seconds: float
    recorded: int


class Rate(NamedTuple):
    """What a loop has reached: events a second, and CPU seconds an event."""

    rate: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run's figures. CPU is in seconds, memory in MB, rates are events a second."""

    events: int
    samples: list[Sample]
    startup_seconds: float
    cpu: float
    database_cpu: float | None
    peak_memory: float
    bare: Rate | None = None
    """The bare loop that sends with aiohttp."""
    own: Rate | None = None
    """The bare loop that sends with shipper's HTTP client."""
    reference: Rate | None = None
    """The loop of the scenario's own `reference`."""

    @property
    def seconds(self) -> float:
        """Return the seconds from the start to the end."""
        return self.samples[-1].seconds

    @property
    def rate(self) -> float:
        """Return the events per second."""
        return self.events / self.seconds

    @property
    def microseconds(self) -> float:
        """Return the daemon's CPU for an event, in microseconds."""
        return 1e6 * self.cpu / self.events

    def of(self, loop: Rate | None) -> float:
        """Return the share of a loop's rate that this run has reached."""
        return self.rate / loop.rate if loop else 0.0

    def tenth(self, number: int) -> float:
        """Return the rate within a tenth of the events, from 0 to 9."""
        begin, end = (self._when(self.events * part / 10) for part in (number, number + 1))
        return self.events / 10 / max(end - begin, _POLL)

    def _when(self, recorded: float) -> float:
        before = Sample(0.0, 0)
        for sample in self.samples:
            if sample.recorded >= recorded > before.recorded:
                part = (recorded - before.recorded) / (sample.recorded - before.recorded)
                return before.seconds + part * (sample.seconds - before.seconds)
            before = sample
        return 0.0


@dataclass(frozen=True, slots=True)
class Drained:
    """All runs of a scenario, and what the receiver's log of one more run shows."""

    scenario: Drain
    database: str
    runs: list[Run]
    verdict: Verdict
    others: list[Outcome]
    """The runs of another version of shipper, each just after one of ours."""


class Measure:
    """Runs the scenarios of this kind."""

    def __init__(
        self,
        directory: Path,
        say: Callable[[str], None],
        profiler: Profiler = lambda _: nullcontext(),
        against: Against = lambda _: [],
    ) -> None:
        self._directory = directory
        self._say = say
        self._profiler = profiler
        self._against = against
        self._runs = 0

    def scenario(self, scenario: Drain, databases: Databases, runs: int) -> Drained:
        """Run it `runs` times, and once more with a log; raises RuntimeError if it doesn't end."""
        runs = min(runs, scenario.most_runs or runs)
        workload = scenario.workload
        self._say(f"{scenario.name}: filling {databases.name} with {workload.events:,} events")
        with databases.filled(workload) as template:
            measured, others = [], list[Outcome]()
            for _ in range(runs):
                measured.append(self.measured(scenario, databases, template))
                others += self._against(scenario)
        verdict = self.judged(scenario, databases)
        return Drained(scenario, databases.name, measured, verdict, others)

    def once(self, scenario: Drain, databases: Databases) -> Run:
        """Ship it once, with nothing beside it."""
        with (
            databases.filled(scenario.workload) as url,
            endpoint(scenario.endpoint, self._fresh()) as target,
        ):
            run = self._ship(scenario, databases, url, target)
        self._say(f"{scenario.name}: {run.rate:,.0f}/s on {databases.name}")
        return run

    def judged(self, scenario: Drain, databases: Databases) -> Verdict:
        """Run it once with a log, with fewer events if there are many, and judge the log."""
        directory = self._fresh()
        log = directory / "receiver.log"
        workload = replace(scenario.workload, events=min(scenario.workload.events, _JUDGED_EVENTS))
        with databases.filled(workload) as url:
            with endpoint(scenario.endpoint, directory, log) as target:
                run = self._ship(replace(scenario, workload=workload), databases, url, target)
            verdict = judge(read(log), workload.events)
        self._say(f"{scenario.name}: {run.rate:,.0f}/s with a log; the order was {verdict}")
        return verdict

    def measured(self, scenario: Drain, databases: Databases, template: str) -> Run:
        """Run the bare loops, then the daemon on a copy of the outbox."""
        with endpoint(scenario.endpoint, self._fresh()) as target:
            bare = self._loop(scenario, "aiohttp", Reference.FREE, databases, target)
            own = self._loop(scenario, "own", Reference.FREE, databases, target)
            reference = None
            if scenario.reference is not None:
                reference = self._loop(scenario, "aiohttp", scenario.reference, databases, target)
        run = replace(
            self.shipped(scenario, databases, template), bare=bare, own=own, reference=reference
        )
        self._say(
            f"{scenario.name}: {databases.name}, {run.rate:,.0f}/s, {run.of(bare):.2f} of the bare"
            f" loop's {bare.rate:,.0f}/s, {run.microseconds:.0f} µs CPU an event,"
            f" {run.peak_memory:.0f} MB"
        )
        return run

    def shipped(self, scenario: Drain, databases: Databases, template: str) -> Run:
        """Run the daemon on a copy of the outbox."""
        # A new server, because a server that refuses an event only once remembers the event.
        with (
            endpoint(scenario.endpoint, self._fresh()) as target,
            databases.copied(template) as url,
        ):
            return self._ship(scenario, databases, url, target)

    def _loop(
        self,
        scenario: Drain,
        client: str,
        order: Reference,
        databases: Databases,
        target: str,
    ) -> Rate:
        workload = replace(scenario.workload, events=min(scenario.workload.events, _LOOP_EVENTS))
        given = [client, order.value, str(scenario.in_flight), target, *workload.arguments()]
        with databases.plain() if order is Reference.COMMITTING else nullcontext("") as url:
            done = subprocess.run(
                module("bare_loop", *given),
                cwd=ROOT,
                env=environment(url, slowed(scenario.slow_sync, self._fresh())),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        result = json.loads(done.stdout)
        return Rate(result["events"] / result["seconds"], result["cpu"] / result["events"])

    def _ship(self, scenario: Drain, databases: Databases, url: str, target: str) -> Run:
        directory = self._fresh() / "daemon"
        before = databases.cpu_seconds()
        shipping = daemon(
            directory,
            url,
            target,
            max_in_flight=scenario.in_flight,
            retry=scenario.retry,
            more=slowed(scenario.slow_sync, directory.parent),
        )
        with shipping as process:
            with self._profiler(process):
                samples = until_ended(process, url, scenario.workload.events)
            cpu, peak = process.cpu_seconds(), process.peak_memory()
            after = databases.cpu_seconds()
            used = None if before is None or after is None else after - before
            return Run(scenario.workload.events, samples, process.startup_seconds, cpu, used, peak)

    def _fresh(self) -> Path:
        self._runs += 1
        directory = self._directory / f"run-{self._runs}"
        directory.mkdir()
        return directory


def until_ended(process: Daemon, url: str, events: int) -> list[Sample]:
    """Watch the counters until all events have been delivered; return what was seen.

    Raises RuntimeError if it takes too long, the daemon ends, or an event ends in another way.
    """
    engine = open_engine(url)
    deadline = process.started_at + _PATIENCE + events / _SLOWEST
    samples: list[Sample] = []
    try:
        while not samples or samples[-1].recorded < events:
            if not process.is_alive or time.monotonic() > deadline:
                raise RuntimeError(f"not all was delivered: {samples[-1:]} {process.log_tail()}")
            time.sleep(_POLL)
            now = ended_counts(engine)
            if now.total != now.delivered:
                raise RuntimeError(f"events died: {now} {process.log_tail()}")
            samples.append(Sample(time.monotonic() - process.started_at, now.delivered))
    finally:
        engine.dispose()
    return samples

"""Measure several daemons on one PostgreSQL outbox, and what the database spends on an event.

The daemons start on an empty outbox and share it out. Then all events are committed at once, and
the clock runs from that commit to the record of the last outcome. With each number of daemons there
are as many events for each, and the destination allows as many in flight for each.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.daemon import Daemon, daemon
from benchmarks.databases import Databases
from benchmarks.judge import Verdict, judge, read
from benchmarks.scenarios import Team
from benchmarks.servers import endpoint
from benchmarks.workload import Workload
from shipper.policy.shares import SHARDS
from shipper.store.db.engine import open_engine
from shipper.store.report.daemons import running_daemons
from shipper.store.report.progress import ended_counts

_POLL = 0.01
_SHARED_WITHIN = 60.0
_PATIENCE = 60.0
# Events per second; if shipping is slower than this, something is wrong.
_SLOWEST = 50.0


class TeamRun(NamedTuple):
    """One run: events a second, and CPU seconds an event of all daemons and of the database."""

    rate: float
    cpu: float
    database_cpu: float


@dataclass(frozen=True, slots=True)
class Teamed:
    """All runs of a scenario by the number of daemons, and what the receiver's log shows."""

    scenario: Team
    database: str
    runs: dict[int, list[TeamRun]]
    verdict: Verdict

    def rate(self, daemons: int) -> float:
        """Return the median of the rates."""
        return median(run.rate for run in self.runs[daemons])

    def share(self, daemons: int) -> float:
        """Return the rate as a share of so many times the rate of one daemon."""
        return self.rate(daemons) / daemons / self.rate(1)

    def database_cpu(self, daemons: int) -> float:
        """Return the database's CPU seconds an event."""
        return median(run.database_cpu for run in self.runs[daemons])


def measure(
    scenario: Team, databases: Databases, directory: Path, runs: int, say: Callable[[str], None]
) -> Teamed:
    """Run each number of daemons `runs` times, in turns, and the most of them with a log."""
    measured: dict[int, list[TeamRun]] = {count: [] for count in scenario.daemons}
    for number in range(runs):
        for count in scenario.daemons:
            place = directory / f"{count}-{number}"
            place.mkdir()
            run = _once(scenario, databases, place, count, None)
            measured[count].append(run)
            say(
                f"{scenario.name}: {count} daemons, {run.rate:,.0f}/s, CPU µs/event: daemons"
                f" {1e6 * run.cpu:.0f}, database {1e6 * run.database_cpu:.0f}"
            )
    place = directory / "judged"
    place.mkdir()
    most, log = max(scenario.daemons), place / "receiver.log"
    _once(scenario, databases, place, most, log)
    verdict = judge(read(log), scenario.events * most)
    say(f"{scenario.name}: {most} daemons with a log; the order was {verdict}")
    return Teamed(scenario, databases.name, measured, verdict)


def _once(
    scenario: Team, databases: Databases, directory: Path, count: int, log: Path | None
) -> TeamRun:
    workload = Workload(scenario.events * count, scenario.keys)
    with databases.plain() as url, ExitStack() as stack:
        target = stack.enter_context(endpoint(scenario.endpoint, directory, log))
        most = scenario.in_flight * count
        team = [
            stack.enter_context(daemon(directory / str(n), url, target, max_in_flight=most))
            for n in range(count)
        ]
        _until_shared(url, team)
        databases.fill(url, workload)
        began, before, used = time.monotonic(), databases.cpu_seconds(), _cpu(team)
        _until_ended(url, team, workload.events)
        seconds, after = time.monotonic() - began, databases.cpu_seconds()
        database = 0.0 if before is None or after is None else after - before
        events = workload.events
        return TeamRun(events / seconds, (_cpu(team) - used) / events, database / events)


def _cpu(team: list[Daemon]) -> float:
    return sum(process.cpu_seconds() for process in team)


def _until_shared(url: str, team: list[Daemon]) -> None:
    """Wait until each daemon has its share of the outbox."""
    engine = open_engine(url)
    try:
        for _ in _tries(team, _SHARED_WITHIN, "the outbox isn't shared out"):
            shares = [each.shards for each in running_daemons(engine)]
            if len(shares) == len(team) and sum(shares) == SHARDS and min(shares) > 0:
                return
    finally:
        engine.dispose()


def _until_ended(url: str, team: list[Daemon], events: int) -> None:
    """Wait until all events have been delivered."""
    engine = open_engine(url)
    try:
        for _ in _tries(team, _PATIENCE + events / _SLOWEST, "not all was delivered"):
            if ended_counts(engine).delivered == events:
                return
    finally:
        engine.dispose()


def _tries(team: list[Daemon], seconds: float, failure: str) -> Iterator[None]:
    """Yield again and again; raises RuntimeError if it takes too long, or a daemon ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and all(process.is_alive for process in team):
        yield
        time.sleep(_POLL)
    raise RuntimeError(f"{failure}: {' '.join(process.log_tail() for process in team)}")

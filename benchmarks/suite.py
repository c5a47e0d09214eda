"""Run the chosen scenarios one after the other, and return the results."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from subprocess import CalledProcessError
from typing import assert_never

from benchmarks import commands, drains, flows, idles, inserts, rivals, teams
from benchmarks.against import Outcome, Tree
from benchmarks.databases import Databases, PostgresDatabases, SqliteFiles
from benchmarks.goals import Result
from benchmarks.processes import LeftOut
from benchmarks.scenarios import Commands, Drain, Flow, Idle, Insert, Scenario, Team
from benchmarks.servers import SERVER, nginx_version, postgres

Say = Callable[[str], None]


class Suite:
    """The databases, and a directory for all files of a run."""

    def __init__(self, directory: Path, databases: dict[bool, Databases], say: Say) -> None:
        self._directory = directory
        self._databases = databases
        self._say = say
        self._numbers = count()
        self._against: Tree | None = None
        self.failures: list[str] = []
        """Why a scenario has no result."""
        self.left_out: list[str] = []
        """What this machine lacks a program for."""

    def versions(self) -> dict[str, str]:
        """Return the versions of the servers."""
        versions = {each.name: each.version for each in self._databases.values()}
        return {**versions, "nginx": nginx_version() or "none: the benchmarks' own server answers"}

    def run(self, scenarios: Sequence[Scenario], runs: int) -> Iterator[Result]:
        """Yield each result; a scenario that fails, or has no PostgreSQL, stops no other."""
        for scenario in scenarios:
            databases = self._databases.get(scenario.postgres)
            if databases is None:
                self._failed(f"({scenario.name}) left out, because there is no PostgreSQL")
                continue
            try:
                result = self._run(scenario, databases, runs)
            except LeftOut as why:
                self._leave_out(f"({scenario.name}) {scenario.title}: {why}")
            except (RuntimeError, CalledProcessError) as error:
                self._failed(f"({scenario.name}) {scenario.title}: {error}")
            else:
                yield result

    def profile(self, scenarios: Sequence[Scenario], profiler: drains.Profiler) -> None:
        """Ship the backlogs among the scenarios, each once, with a profiler attached."""
        measure = drains.Measure(self.fresh(), self._say, profiler)
        for scenario in scenarios:
            databases = self._databases.get(scenario.postgres)
            if isinstance(scenario, Drain) and databases is not None:
                measure.once(scenario, databases)

    def peers(self, names: Sequence[str], runs: int, events: int | None) -> list[Result]:
        """Return the results of the peers, which need PostgreSQL, and of (b) in between."""
        databases = self._databases.get(True)
        if not isinstance(databases, PostgresDatabases):
            self._leave_out("peers: there is no PostgreSQL")
            return []
        race = rivals.Race(databases, self.fresh(), events, self._say)
        try:
            return [*race.run(names, runs)]
        except (RuntimeError, CalledProcessError) as error:
            self._failed(f"peers: {error}")
            return []
        finally:
            for why in race.left_out:
                self._leave_out(why)

    def compare_with(self, checkout: Path) -> None:
        """Run each backlog and flow also with the shipper of another checkout."""
        databases = self._databases.get(True)
        server = databases.server if isinstance(databases, PostgresDatabases) else ""
        try:
            self._against = Tree(checkout, self.fresh(), {SERVER: server} if server else {})
        except LeftOut as why:
            self._leave_out(f"against {checkout.name}: {why}")

    def once(self, scenario: Drain | Flow) -> Outcome:
        """Run a scenario once, with nothing beside it."""
        databases = self._databases[scenario.postgres]
        if isinstance(scenario, Drain):
            run = drains.Measure(self.fresh(), self._say).once(scenario, databases)
            return Outcome(run.rate, run.microseconds)
        flowed = flows.measure(scenario, databases, self.fresh(), self._say)
        cpu = 1e6 * flowed.cpu / flowed.events
        return Outcome(flowed.commit_rate, cpu, flowed.p50, flowed.p99)

    def _others(self, scenario: Drain | Flow) -> list[Outcome]:
        if self._against is None:
            return []
        outcome = self._against.once(scenario)
        self._say(f"{scenario.name}: the other version {outcome.rate:,.0f}/s")
        return [outcome]

    def _leave_out(self, why: str) -> None:
        self._say(f"left out: {why}")
        self.left_out.append(" ".join(why.split()))

    def _failed(self, why: str) -> None:
        self._say(why)
        self.failures.append(" ".join(why.split()))

    def fresh(self) -> Path:
        """Make a directory."""
        directory = self._directory / str(next(self._numbers))
        directory.mkdir()
        return directory

    def _run(self, scenario: Scenario, databases: Databases, runs: int) -> Result:
        match scenario:
            case Drain():
                measure = drains.Measure(self.fresh(), self._say, against=self._others)
                return measure.scenario(scenario, databases, runs)
            case Flow():
                return self._flow(scenario, databases, runs)
            case Idle():
                return idles.measure(scenario, databases, self.fresh(), runs, self._say)
            case Insert():
                return inserts.measure(scenario, databases, runs, self._say)
            case Commands():
                return commands.measure(scenario, databases, self.fresh(), runs, self._say)
            case Team():
                return teams.measure(scenario, databases, self.fresh(), runs, self._say)
        assert_never(scenario)

    def _flow(self, scenario: Flow, databases: Databases, runs: int) -> flows.Flowed:
        measured, others = list[flows.Flowed](), list[Outcome]()
        for _ in range(runs):
            measured.append(flows.measure(scenario, databases, self.fresh(), self._say))
            others += self._others(scenario)
        return flows.middle(measured, others)


@contextmanager
def open_suite(
    directory: Path, scenarios: Sequence[Scenario], say: Say, *, peers: bool = False
) -> Iterator[Suite]:
    """Yield a suite with the databases that the scenarios and the peers need."""
    files = directory / "sqlite"
    files.mkdir()
    databases: dict[bool, Databases] = {False: SqliteFiles(files)}
    if not peers and not any(scenario.postgres for scenario in scenarios):
        yield Suite(directory, databases, say)
        return
    with postgres() as server:
        if server is not None:
            databases[True] = PostgresDatabases(server)
        yield Suite(directory, databases, say)

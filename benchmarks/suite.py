"""Run the chosen scenarios one after the other, and return the results."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from subprocess import CalledProcessError
from typing import assert_never

from benchmarks import commands, drains, flows, idles, inserts, rivals
from benchmarks.databases import Databases, PostgresDatabases, SqliteFiles
from benchmarks.judge import Verdict
from benchmarks.report import Result
from benchmarks.rivals import Rivaled
from benchmarks.scenarios import Commands, Drain, Flow, Idle, Insert, Scenario
from benchmarks.servers import nginx_version, postgres

Say = Callable[[str], None]


class Suite:
    """The databases, and a directory for all files of a run."""

    def __init__(self, directory: Path, databases: dict[bool, Databases], say: Say) -> None:
        self._directory = directory
        self._databases = databases
        self._say = say
        self._numbers = count()
        self.failures: list[str] = []
        """Why a scenario has no result."""

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
            except (RuntimeError, CalledProcessError) as error:
                self._failed(f"({scenario.name}) {scenario.title}: {error}")
            else:
                yield result

    def judge(self, scenario: Drain) -> Verdict:
        """Return what the receiver's log of one run shows."""
        measure = drains.Measure(self.fresh(), self._say)
        return measure.judged(scenario, self._databases[scenario.postgres])

    def profile(self, scenarios: Sequence[Scenario], profiler: drains.Profiler) -> None:
        """Ship the backlogs among the scenarios, each once, with a profiler attached."""
        measure = drains.Measure(self.fresh(), self._say, profiler)
        for scenario in scenarios:
            databases = self._databases.get(scenario.postgres)
            if isinstance(scenario, Drain) and databases is not None:
                measure.once(scenario, databases)

    def peers(self, runs: int, events: int | None) -> list[Rivaled]:
        """Return the results of the peers, which need PostgreSQL; none without it."""
        databases = self._databases.get(True)
        if not isinstance(databases, PostgresDatabases):
            self._failed("peers left out, because there is no PostgreSQL")
            return []
        try:
            return rivals.measure(databases, self.fresh(), runs, events, self._say)
        except (RuntimeError, CalledProcessError) as error:
            self._failed(f"peers: {error}")
            return []

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
                return drains.Measure(self.fresh(), self._say).scenario(scenario, databases, runs)
            case Flow():
                return flows.measure(scenario, databases, self.fresh(), self._say)
            case Idle():
                return idles.measure(scenario, databases, self.fresh(), self._say)
            case Insert():
                return inserts.measure(scenario, databases, self._say)
            case Commands():
                return commands.measure(scenario, databases, self.fresh(), runs, self._say)
        assert_never(scenario)


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

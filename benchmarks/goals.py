"""The goals for speed, each beside what was measured in this report.

A ratio is of figures of the same round, and the median of the rounds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple, TypeAlias, TypeVar

from benchmarks.commands import Commanded
from benchmarks.drains import Drained, Run
from benchmarks.flows import Flowed
from benchmarks.idles import Idled
from benchmarks.inserts import Inserted
from benchmarks.rivals import GRAPHILE, Rivaled

Result: TypeAlias = Drained | Flowed | Idled | Inserted | Commanded | Rivaled
R = TypeVar("R", Drained, Flowed, Idled, Inserted, Commanded)

_SQLITE, _POSTGRES = "SQLite", "Postgres"
# 40 keys, each of them answered after 5 ms.
_POSSIBLE = 8_000
_MANY = 5_000_000


class Goal(NamedTuple):
    """A row: what it is about, the goal, whether a figure meets it, and how a figure is shown."""

    what: str
    goal: str
    meets: Callable[[float], bool]
    measured: float | None
    form: str = "{:.2f}"

    @property
    def row(self) -> list[str]:
        """Return the row of the table."""
        if self.measured is None:
            return [self.what, self.goal, "", "not measured"]
        verdict = "met" if self.meets(self.measured) else "missed"
        return [self.what, self.goal, self.form.format(self.measured), verdict]


@dataclass(frozen=True, slots=True)
class Found:
    """The results of a report, by scenario and database."""

    results: Sequence[Result]

    def one(self, kind: type[R], name: str, database: str) -> R | None:
        """Return the first result of a scenario on a database, or None."""
        for result in self.results:
            if not isinstance(result, kind) or result.scenario.name != name:
                continue
            if result.database == database:
                return result
        return None

    def drained(self, name: str, database: str, figure: Callable[[Run], float]) -> float | None:
        """Return the median of a figure of the runs of a backlog."""
        found = self.one(Drained, name, database)
        return None if found is None else median(map(figure, found.runs))

    def flowed(self, database: str) -> float | None:
        """Return the time from commit to receiver of (h), p99, in ms."""
        found = self.one(Flowed, "h", database)
        return None if found is None else found.p99

    def inserted(self, database: str) -> tuple[float, float] | None:
        """Return what an INSERT of the payload alone takes, in µs, and of the plain table."""
        found = self.one(Inserted, "k", database)
        if found is None:
            return None
        took = found.microseconds
        return took["payload"]["within"], took["plain"]["within"]

    def commanded(self, database: str) -> float | None:
        """Return how long `status` takes, in ms."""
        found = self.one(Commanded, "l", database)
        if found is None or found.scenario.events < _MANY:
            return None
        return median(found.milliseconds["status"])

    def idle(self, database: str) -> float | None:
        """Return the CPU of the idle daemon, in percent of a core."""
        found = self.one(Idled, "i", database)
        return None if found is None else found.cpu

    def rival(self, name: str) -> float | None:
        """Return shipper's rate as a multiple of a peer's."""
        for result in self.results:
            if isinstance(result, Rivaled) and result.peer == name:
                return result.ratio
        return None


def goals(results: Sequence[Result]) -> list[Goal]:
    """Return every goal, with its figure if the report has it."""
    found = Found(results)
    return [*_rates(found), *_costs(found), *_waits(found), *_rest(found)]


def _least(bound: float) -> Callable[[float], bool]:
    return lambda figure: figure >= bound


def _most(bound: float) -> Callable[[float], bool]:
    return lambda figure: figure <= bound


def _of_bare(run: Run) -> float:
    return run.of(run.bare)


def _of_reference(run: Run) -> float:
    return run.of(run.reference)


def _of_possible(run: Run) -> float:
    return run.rate / _POSSIBLE


def _rates(found: Found) -> Iterator[Goal]:
    def row(
        what: str, name: str, database: str, figure: Callable[[Run], float], bound: float
    ) -> Goal:
        told = f"({name}) {database}, {what}"
        return Goal(told, f"≥ {bound}", _least(bound), found.drained(name, database, figure))

    yield row("of the bare loop", "a", _SQLITE, _of_bare, 1.0)
    yield row("of the bare loop", "b", _POSTGRES, _of_bare, 0.8)
    ahead = found.rival(GRAPHILE)
    yield Goal(f"(b) Postgres, of {GRAPHILE}", "≥ 1.25", _least(1.25), ahead)
    yield row("of the bare loop", "c", _SQLITE, _of_bare, 0.98)
    yield row("of the bare loop", "c", _POSTGRES, _of_bare, 0.98)
    yield row("of the committing loop", "d", _SQLITE, _of_reference, 0.85)
    yield row("of the committing loop", "d", _POSTGRES, _of_reference, 0.7)
    yield row("of a possible 8,000", "f2", _SQLITE, _of_possible, 0.8)
    yield row("of a possible 8,000", "f2", _POSTGRES, _of_possible, 0.7)
    first, second = (found.drained(name, _SQLITE, lambda run: run.rate) for name in ("a", "j"))
    share = second / first if first and second else None
    yield Goal("(j) 5 % refused once, of (a)", "≥ 0.9", _least(0.9), share)
    tenth = None
    for long in found.results:
        if isinstance(long, Drained) and long.scenario.workload.events >= _MANY:
            tenth = median(run.tenth(9) / run.tenth(0) for run in long.runs)
    told = "(g) 5 million, last tenth of the first"
    yield Goal(told, "0.95 to 1.05", lambda f: 0.95 <= f <= 1.05, tenth)


def _costs(found: Found) -> Iterator[Goal]:
    def cost(run: Run) -> float:
        return run.cpu / run.events / run.bare.cpu if run.bare else 0.0

    def beside(run: Run) -> float:
        return 1e6 * (run.database_cpu or 0.0) / run.events

    for name, database in (("a", _SQLITE), ("b", _POSTGRES)):
        told = f"({name}) CPU of the daemon, of the bare loop's"
        yield Goal(told, "≤ 0.9", _most(0.9), found.drained(name, database, cost))
    used = found.drained("b", _POSTGRES, beside)
    yield Goal("(b) CPU of Postgres", "≤ 45 µs", _most(45.0), used, "{:.0f} µs")


def _waits(found: Found) -> Iterator[Goal]:
    for database in (_SQLITE, _POSTGRES):
        told = f"(h) {database}, commit to receiver, p99"
        yield Goal(told, "≤ 40 ms", _most(40.0), found.flowed(database), "{:.1f} ms")
    for database in (_SQLITE, _POSTGRES):
        told, took = f"(l) {database}, status with 5 million rows", found.commanded(database)
        yield Goal(told, "≤ 200 ms", _most(200.0), took, "{:.0f} ms")


def _rest(found: Found) -> Iterator[Goal]:
    insert = found.inserted(_SQLITE)
    alone = None if insert is None else insert[0]
    yield Goal("(k) SQLite, INSERT of the payload", "≤ 40 µs", _most(40.0), alone, "{:.0f} µs")
    insert = found.inserted(_POSTGRES)
    times = None if insert is None else insert[0] / insert[1]
    yield Goal("(k) Postgres, INSERT of the payload, of a plain one", "≤ 1.3", _most(1.3), times)
    peak = found.drained("a", _SQLITE, lambda run: run.peak_memory)
    yield Goal("(a) peak memory", "≤ 82 MB", _most(82.0), peak, "{:.0f} MB")
    idle = found.idle(_SQLITE)
    yield Goal("(i) SQLite, idle", "≤ 0.8 % of a core", _most(0.8), idle, "{:.2f} %")

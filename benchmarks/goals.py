"""The goals for speed, each beside what was measured in this report.

A ratio is of figures of the same round, and the median of the rounds; that of (j) and (a) is of
their medians, because they aren't run in pairs.
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
from benchmarks.rivals import GRAPHILE, PG_BOSS, Rivaled
from benchmarks.teams import Teamed

Result: TypeAlias = Drained | Flowed | Idled | Inserted | Commanded | Rivaled | Teamed
R = TypeVar("R", Drained, Flowed, Idled, Inserted, Commanded, Teamed)

_SQLITE, _POSTGRES = "SQLite", "Postgres"
_BOTH = (_SQLITE, _POSTGRES)
# 40 keys, each of them answered after 5 ms.
_POSSIBLE = 8_000
_MANY = 5_000_000
# What the daemon used before, in percent of a core.
_IDLE = {_SQLITE: 0.8, _POSTGRES: 0.6}
# What the drain with two threads gave on a slow disk, by keys: its rate as a share of the bare
# loop's; and the latency, in ms. That was 88 to 128: a pair of applications commits at one moment,
# and the second event needs one transaction more if it isn't claimed with the first.
_WITH_TWO_THREADS = {1_000: 0.07, 40: 0.04}
_SLOW_P99 = 128.0


class Figure(NamedTuple):
    """What was measured, and how."""

    value: float
    how: str


class Goal(NamedTuple):
    """A row: what it is about, the goal, whether a figure meets it, and how a figure is shown."""

    what: str
    goal: str
    meets: Callable[[float], bool]
    measured: Figure | None
    form: str = "{:.2f}"

    @property
    def row(self) -> list[str]:
        """Return the row of the table."""
        if self.measured is None:
            return [self.what, self.goal, "", "not measured", ""]
        value, how = self.measured
        verdict = "met" if self.meets(value) else "missed"
        return [self.what, self.goal, self.form.format(value), verdict, how]


@dataclass(frozen=True, slots=True)
class Found:
    """The results of a report, by scenario and database."""

    results: Sequence[Result]

    def every(self, kind: type[R], name: str | None = None) -> list[R]:
        """Return the results of a kind, of one scenario or of all."""
        found = [result for result in self.results if isinstance(result, kind)]
        return [result for result in found if name in (None, result.scenario.name)]

    def one(self, kind: type[R], name: str, database: str) -> R | None:
        """Return the first result of a scenario on a database, or None."""
        return next((each for each in self.every(kind, name) if each.database == database), None)

    def drained(
        self, name: str, database: str, figure: Callable[[Run], float], how: str
    ) -> Figure | None:
        """Return the median of a figure of the runs of a backlog."""
        found = self.one(Drained, name, database)
        return None if found is None else _median(found, figure, how)

    def rival(self, name: str) -> Figure | None:
        """Return shipper's rate as a multiple of a peer's."""
        for result in self.results:
            if isinstance(result, Rivaled) and result.peer == name:
                return Figure(result.ratio, f"rates, {_runs(result.rates)} in turns")
        return None


def goals(results: Sequence[Result]) -> list[Goal]:
    """Return every goal, with its figure if the report has it."""
    found = Found(results)
    parts = (_rates, _costs, _waits, _inserts, _slow_disk, _teams, _least_use)
    return [goal for part in parts for goal in part(found)]


def _teams(found: Found) -> Iterator[Goal]:
    for team in found.every(Teamed, "n"):
        if len(team.runs) < 3:
            continue
        how = f"rates, {_runs(team.runs[1])} each, in turns"
        for daemons in list(team.runs)[1:]:
            what = f"(n) {daemons} daemons of {daemons} times one"
            yield Goal(what, "≥ 0.95", _least(0.95), Figure(team.share(daemons), how))
        most = max(team.runs)
        ratio = team.database_cpu(most) / team.database_cpu(1)
        what = f"(n) the database's CPU an event, {most} daemons to 1"
        yield Goal(what, "≤ 1.3", _most(1.3), Figure(ratio, how))


def _least(bound: float) -> Callable[[float], bool]:
    return lambda figure: figure >= bound


def _most(bound: float) -> Callable[[float], bool]:
    return lambda figure: figure <= bound


def _runs(runs: int | Sequence[object]) -> str:
    count = runs if isinstance(runs, int) else len(runs)
    return "1 run" if count == 1 else f"median of {count} runs"


def _median(found: Drained, figure: Callable[[Run], float], how: str) -> Figure:
    return Figure(median(map(figure, found.runs)), f"{how}, {_runs(found.runs)}")


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
        how = "rates, the loop just before each run"
        if figure is _of_possible:
            how = "40 keys / 5 ms = 8,000/s"
        measured = found.drained(name, database, figure, how)
        return Goal(f"({name}) {database}, {what}", f"≥ {bound}", _least(bound), measured)

    yield row("of the bare loop", "a", _SQLITE, _of_bare, 1.0)
    yield row("of the bare loop", "b", _POSTGRES, _of_bare, 0.8)
    for peer, bound in ((GRAPHILE, 1.25), (PG_BOSS, 1.0)):
        yield Goal(f"(b) Postgres, of {peer}", f"≥ {bound}", _least(bound), found.rival(peer))
    for database in _BOTH:
        yield row("of the bare loop", "c", database, _of_bare, 0.98)
    yield row("of the committing loop", "d", _SQLITE, _of_reference, 0.85)
    yield row("of the committing loop", "d", _POSTGRES, _of_reference, 0.7)
    yield row("of a possible 8,000", "f2", _SQLITE, _of_possible, 0.8)
    yield row("of a possible 8,000", "f2", _POSTGRES, _of_possible, 0.7)
    yield Goal("(j) 5 % refused once, of (a)", "≥ 0.9", _least(0.9), _refused(found))
    tenths = [
        _median(long, lambda run: run.tenth(9) / run.tenth(0), "rates within one run")
        for long in found.every(Drained)
        if long.scenario.workload.events >= _MANY
    ]
    told = "(g) 5 million, last tenth of the first"
    yield Goal(told, "0.95 to 1.05", lambda f: 0.95 <= f <= 1.05, next(iter(tenths), None))


def _refused(found: Found) -> Figure | None:
    most, refused = (
        found.drained(name, _SQLITE, lambda run: run.rate, "rate") for name in ("a", "j")
    )
    if most is None or refused is None:
        return None
    return Figure(refused.value / most.value, "medians of both, (a) just before")


def _costs(found: Found) -> Iterator[Goal]:
    def cost(run: Run) -> float:
        return run.cpu / run.events / run.bare.cpu if run.bare else 0.0

    def beside(run: Run) -> float:
        return 1e6 * (run.database_cpu or 0.0) / run.events

    for name, database in (("a", _SQLITE), ("b", _POSTGRES)):
        told = f"({name}) CPU of the daemon, of the bare loop's"
        used = found.drained(name, database, cost, "user and system time an event")
        yield Goal(told, "≤ 0.9", _most(0.9), used)
    used = found.drained("b", _POSTGRES, beside, "all processes of the server, an event")
    yield Goal("(b) CPU of Postgres", "≤ 45 µs", _most(45.0), used, "{:.0f} µs")


def _waits(found: Found) -> Iterator[Goal]:
    for database in _BOTH:
        flow, wait = found.one(Flowed, "h", database), None
        if flow is not None:
            wait = Figure(flow.p99, f"p99 of each run, {_runs(flow.runs)}")
        told = f"(h) {database}, commit to receiver, p99"
        yield Goal(told, "≤ 40 ms", _most(40.0), wait, "{:.1f} ms")
    for database in _BOTH:
        command, took = found.one(Commanded, "l", database), None
        if command is not None and command.scenario.events >= _MANY:
            times = command.milliseconds["status"]
            took = Figure(median(times), f"the whole process, {_runs(times)}")
        told = f"(l) {database}, status with 5 million rows"
        yield Goal(told, "≤ 200 ms", _most(200.0), took, "{:.0f} ms")


def _inserts(found: Found) -> Iterator[Goal]:
    alone, times = None, None
    if insert := found.one(Inserted, "k", _SQLITE):
        how = f"within a transaction of many, {_runs(insert.runs)}"
        alone = Figure(insert.microseconds["payload"]["within"], how)
    yield Goal("(k) SQLite, INSERT of the payload", "≤ 40 µs", _most(40.0), alone, "{:.0f} µs")
    if insert := found.one(Inserted, "k", _POSTGRES):
        how = f"within a transaction of many, {_runs(insert.runs)}"
        took = insert.microseconds
        times = Figure(took["payload"]["within"] / took["plain"]["within"], how)
    yield Goal("(k) Postgres, INSERT of the payload, of a plain one", "≤ 1.3", _most(1.3), times)


def _slow_disk(found: Found) -> Iterator[Goal]:
    """Yield the goals of a disk whose fsync takes 20 ms: what the drain with two threads gave."""
    slow = found.every(Drained, "m")
    for keys, bound in _WITH_TWO_THREADS.items():
        shares = [
            _median(each, _of_bare, "rates, the loop just before each run on the same disk")
            for each in slow
            if each.scenario.workload.keys == keys
        ]
        told = f"(m) {keys:,} keys, of the bare loop"
        yield Goal(told, f"≥ {bound}", _least(bound), next(iter(shares), None))
    waits = [
        Figure(flow.p99, f"p99 of each run, {_runs(flow.runs)}")
        for flow in found.every(Flowed, "m")
    ]
    told, most = "(m) 10 commits/s, commit to receiver, p99", f"≤ {_SLOW_P99:.0f} ms"
    yield Goal(told, most, _most(_SLOW_P99), next(iter(waits), None), "{:.1f} ms")
    repeats = None
    judged = [each.verdict for each in slow]
    judged += [flow.verdict for flow in found.every(Flowed, "m")]
    if judged:
        accepted = sum(verdict.accepted for verdict in judged)
        how = f"the receiver's logs, {accepted:,} events"
        repeats = Figure(sum(verdict.repeats for verdict in judged), how)
    yield Goal("(m) repeats", "0", _most(0.0), repeats, "{:.0f}")


def _least_use(found: Found) -> Iterator[Goal]:
    peaks = [(median(run.peak_memory for run in each.runs), each) for each in found.every(Drained)]
    peak = None
    if peaks:
        most, each = max(peaks, key=lambda pair: pair[0])
        which = f"({each.scenario.name}) with {each.scenario.workload.events:,} events"
        how = f"VmHWM, highest of {len(peaks)} backlogs: {which} on {each.database}"
        peak = Figure(most, f"{how}, {_runs(each.runs)}")
    yield Goal("peak memory", "≤ 82 MB", _most(82.0), peak, "{:.0f} MB")
    for database, bound in _IDLE.items():
        idle, used = found.one(Idled, "i", database), None
        if idle is not None:
            used = Figure(idle.cpu, f"the daemon's process, {_runs(idle.runs)}")
        told = f"(i) {database}, idle"
        yield Goal(told, f"≤ {bound} % of a core", _most(bound), used, "{:.2f} %")

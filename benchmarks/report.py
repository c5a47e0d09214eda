"""The figures as Markdown: a table for each kind of scenario, and the machine."""

from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.commands import Commanded
from benchmarks.drains import Drained, Rate, Run
from benchmarks.flows import Flowed
from benchmarks.goals import Result, goals
from benchmarks.idles import Idled
from benchmarks.inserts import Inserted
from benchmarks.rivals import ORDER, Rivaled
from benchmarks.teams import Teamed

_DRAINS = (
    "scenario", "database", "endpoint", "in flight", "events", "runs",
    "events/s (lowest to highest)", "bare loop/s", "ratio", "bare loop, own client/s", "ratio",
    "ordered or committing loop/s", "ratio", "CPU µs/event: daemon", "database", "bare loop",
    "own client", "peak MB", "start-up s", "order",
)  # fmt: skip
_TENTHS = ("scenario", "events", "first tenth/s", "fifth", "sixth", "last", "last : first")
_FLOWS = (
    "scenario", "database", "events", "runs", "commits/s", "p50 ms", "p99 ms", "longest ms",
    "CPU µs/event: daemon", "database", "peak MB", "order",
)  # fmt: skip
_IDLES = (
    "scenario", "database", "delivered events", "seconds", "runs",
    "CPU % of a core: daemon", "database", "RSS MB", "RSS growth MB", "disk growth kB",
)  # fmt: skip
_INSERTS = (
    "scenario", "database", "how", "runs", "outbox, payload only µs", "outbox, all four columns µs",
    "plain table, all four µs", "payload only : plain",
)  # fmt: skip
_COMMANDS = (
    "scenario", "database", "events", "pending", "command", "runs",
    "ms, the whole process (lowest to highest)",
)  # fmt: skip
_TEAMS = (
    "scenario", "database", "daemons", "events", "in flight", "runs",
    "events/s (lowest to highest)", "of so many times one", "CPU µs/event: daemons", "database",
    "order",
)  # fmt: skip
_PEERS = (
    "peer", "version", "events", "events/s (lowest to highest)", "shipper/s", "shipper : peer",
    "CPU µs/event: worker", "database", "peak MB", "order within a key",
)  # fmt: skip
_GOALS = ("", "goal", "measured", "", "how it was measured")
_VERSIONS = (
    "scenario", "database", "events/s: this version", "the other", "ratio", "CPU µs/event: this",
    "the other", "p50 ms: this", "the other", "p99 ms: this", "the other",
)  # fmt: skip


def render(facts: list[tuple[str, str]], results: Sequence[Result]) -> str:
    """Return the whole report, with a table for each kind of scenario that was run."""
    parts = ["# Benchmarks", machine(facts)]
    for section in (targets, drains, flows, idles, inserts, commands, teams, peers, versions):
        parts += filter(None, [section(results)])
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(facts: list[tuple[str, str]]) -> str:
    """Return the description of the machine."""
    return "\n".join(f"- {name}: {value}" for name, value in facts)


def targets(results: Sequence[Result]) -> str:
    """Return the table of the goals, if one of them was measured."""
    found = goals(results)
    if all(goal.measured is None for goal in found):
        return ""
    return f"## Goals\n\n{table(_GOALS, [goal.row for goal in found])}"


def drains(results: Sequence[Result]) -> str:
    """Return the table of the backlogs that were shipped, and their tenths for the long ones."""
    found = [result for result in results if isinstance(result, Drained)]
    if not found:
        return ""
    parts = ["## Backlogs, shipped to their end", table(_DRAINS, list(map(_drain, found)))]
    if tenths := [_tenths(result) for result in found if result.scenario.name == "g"]:
        parts += ["### From the first tenth to the last", table(_TENTHS, tenths)]
    return "\n\n".join(parts)


def flows(results: Sequence[Result]) -> str:
    """Return the table of the events that were written and shipped at the same time."""
    rows = [_flow(result) for result in results if isinstance(result, Flowed)]
    return f"## From commit to delivery\n\n{table(_FLOWS, rows)}" if rows else ""


def _flow(result: Flowed) -> list[str]:
    return [
        f"({result.scenario.name}) {result.scenario.title}",
        result.database,
        f"{result.events:,}",
        str(result.runs),
        f"{result.commit_rate:,.0f}",
        f"{result.p50:.1f}",
        f"{result.p99:.1f}",
        f"{result.worst:.1f}",
        f"{1e6 * result.cpu / result.events:.0f}",
        database_cpu(result.database, result.database_cpu, 1e6 / result.events, ".0f"),
        f"{result.peak_memory:.0f}",
        str(result.verdict),
    ]


def idles(results: Sequence[Result]) -> str:
    """Return the table of the idle daemon."""
    rows = [_idle(result) for result in results if isinstance(result, Idled)]
    return f"## Idle\n\n{table(_IDLES, rows)}" if rows else ""


def _idle(result: Idled) -> list[str]:
    return [
        f"({result.scenario.name}) {result.scenario.title}",
        result.database,
        f"{result.scenario.events:,}",
        f"{result.scenario.seconds:.0f}",
        str(result.runs),
        f"{result.cpu:.2f}",
        database_cpu(result.database, result.database_cpu, 1.0, ".2f"),
        f"{result.memory:.0f}",
        f"{result.memory_growth:+.1f}",
        f"{result.disk_growth / 1024:+.0f}",
    ]


def inserts(results: Sequence[Result]) -> str:
    """Return the table of what an INSERT costs the application."""
    found = [result for result in results if isinstance(result, Inserted)]
    rows = [_insert(result, how) for result in found for how in ("within", "alone")]
    return f"## One INSERT of the application\n\n{table(_INSERTS, rows)}" if rows else ""


def _insert(result: Inserted, how: str) -> list[str]:
    took = {way: each[how] for way, each in result.microseconds.items()}
    return [
        f"({result.scenario.name}) {result.scenario.title}",
        result.database,
        {"within": "many in a transaction", "alone": "alone, with its commit"}[how],
        str(result.runs),
        *(f"{took[way]:.0f}" for way in ("payload", "all four", "plain")),
        f"{took['payload'] / took['plain']:.2f}",
    ]


def commands(results: Sequence[Result]) -> str:
    """Return the table of how long an operator waits for a command."""
    found = [result for result in results if isinstance(result, Commanded)]
    rows = [_command(result, command) for result in found for command in result.milliseconds]
    return f"## An operator's commands\n\n{table(_COMMANDS, rows)}" if rows else ""


def _command(result: Commanded, command: str) -> list[str]:
    times = sorted(result.milliseconds[command])
    return [
        f"({result.scenario.name}) {result.scenario.title}",
        result.database,
        f"{result.scenario.events:,}",
        f"{result.scenario.pending:,}",
        f"`{command}`",
        str(len(times)),
        f"{median(times):,.0f} ({times[0]:,.0f} to {times[-1]:,.0f})",
    ]


def teams(results: Sequence[Result]) -> str:
    """Return the table of several daemons on one outbox."""
    found = [result for result in results if isinstance(result, Teamed)]
    rows = [_team(result, daemons) for result in found for daemons in result.runs]
    return f"## Several daemons on one outbox\n\n{table(_TEAMS, rows)}" if rows else ""


def _team(result: Teamed, daemons: int) -> list[str]:
    scenario, runs = result.scenario, result.runs[daemons]
    rates = sorted(run.rate for run in runs)
    return [
        f"({scenario.name}) {scenario.title}",
        result.database,
        str(daemons),
        f"{scenario.events * daemons:,}",
        str(scenario.in_flight * daemons),
        str(len(runs)),
        f"{median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})",
        f"{result.share(daemons):.2f}",
        f"{1e6 * median(run.cpu for run in runs):.0f}",
        f"{1e6 * result.database_cpu(daemons):.0f}",
        str(result.verdict) if daemons == max(result.runs) else "",
    ]


def peers(results: Sequence[Result]) -> str:
    """Return the table of the peers, with the same events and endpoint, on Postgres."""
    rows = [_peer(result) for result in results if isinstance(result, Rivaled)]
    return f"## Peers, as (b)\n\n{table(_PEERS, rows)}" if rows else ""


def _peer(result: Rivaled) -> list[str]:
    rates = sorted(result.rates)
    return [
        result.peer,
        result.version,
        f"{result.events:,}",
        f"{median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})",
        f"{median(result.ours):,.0f}",
        f"{result.ratio:.2f}",
        f"{1e6 * result.cpu / result.events:.0f}",
        database_cpu("Postgres", result.database_cpu, 1e6 / result.events, ".0f"),
        f"{result.memory:.0f}",
        ORDER[result.peer],
    ]


def versions(results: Sequence[Result]) -> str:
    """Return the table that compares with another version of shipper."""
    rows = [_against(r) for r in results if isinstance(r, Drained | Flowed) and r.others]
    return f"## Against another version\n\n{table(_VERSIONS, rows)}" if rows else ""


def _against(result: Drained | Flowed) -> list[str]:
    theirs = [other.rate for other in result.others]
    if isinstance(result, Drained):
        rates = [run.rate for run in result.runs]
        cpu, waits = of(result.runs, lambda run: run.microseconds), [""] * 4
    else:
        # Only the medians of our own runs are kept: the applications gave the rate.
        rates, cpu = [result.commit_rate] * len(theirs), 1e6 * result.cpu / result.events
        theirs_p50, theirs_p99 = (
            median(each[place] or 0.0 for each in result.others) for place in (2, 3)
        )
        waits = [f"{ms:.1f}" for ms in (result.p50, theirs_p50, result.p99, theirs_p99)]
    return [
        f"({result.scenario.name}) {result.scenario.title}",
        result.database,
        f"{median(rates):,.0f}",
        f"{median(theirs):,.0f}",
        f"{median(our / its for our, its in zip(rates, theirs, strict=True)):.2f}",
        f"{cpu:.0f}",
        f"{median(other.cpu for other in result.others):.0f}",
        *waits,
    ]


def database_cpu(database: str, seconds: float | None, factor: float, form: str) -> str:
    """Return the CPU of the database, times a factor; or why it isn't known."""
    if seconds is not None:
        return format(seconds * factor, form)
    return "in the daemon" if database == "SQLite" else "not on this machine"


def _drain(result: Drained) -> list[str]:
    scenario, runs = result.scenario, result.runs
    rates = sorted(run.rate for run in runs)
    reference, second_ratio = "", ""
    if scenario.reference is not None:
        reference = f"{of(runs, lambda run: rate(run.reference)):,.0f}"
        second_ratio = f"{of(runs, lambda run: run.of(run.reference)):.2f}"
    database = [run.database_cpu for run in runs if run.database_cpu is not None]
    used = median(database) if database else None
    return [
        f"({scenario.name}) {scenario.title}",
        result.database,
        str(scenario.endpoint),
        str(scenario.in_flight),
        f"{scenario.workload.events:,}",
        str(len(runs)),
        f"{median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})",
        f"{of(runs, lambda run: rate(run.bare)):,.0f}",
        f"{of(runs, lambda run: run.of(run.bare)):.2f}",
        f"{of(runs, lambda run: rate(run.own)):,.0f}",
        f"{of(runs, lambda run: run.of(run.own)):.2f}",
        reference,
        second_ratio,
        f"{of(runs, lambda run: run.microseconds):.0f}",
        database_cpu(result.database, used, 1e6 / scenario.workload.events, ".0f"),
        f"{of(runs, lambda run: 1e6 * (run.bare.cpu if run.bare else 0.0)):.0f}",
        f"{of(runs, lambda run: 1e6 * (run.own.cpu if run.own else 0.0)):.0f}",
        f"{of(runs, lambda run: run.peak_memory):.0f}",
        f"{of(runs, lambda run: run.startup_seconds):.2f}",
        str(result.verdict),
    ]


def rate(loop: Rate | None) -> float:
    """Return the events a second of a loop."""
    return 0.0 if loop is None else loop.rate


def _tenths(result: Drained) -> list[str]:
    runs = result.runs
    rates = [f"{median(run.tenth(number) for run in runs):,.0f}" for number in (0, 4, 5, 9)]
    ratio = of(runs, lambda run: run.tenth(9) / run.tenth(0))
    return [f"({result.scenario.name})", f"{runs[0].events:,}", *rates, f"{ratio:.2f}"]


def of(runs: Sequence[Run], figure: Callable[[Run], float]) -> float:
    """Return the median of a figure."""
    return median(map(figure, runs))

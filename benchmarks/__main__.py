"""`python -m benchmarks`: see README.md beside this file."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import machine, profiler, report, rivals
from benchmarks.daemon import Daemon
from benchmarks.disks import find_compiler
from benchmarks.drains import Drained
from benchmarks.flows import Flowed
from benchmarks.scenarios import REFERENCES, SMOKE, Scenario, chosen, names
from benchmarks.suite import Suite, open_suite
from benchmarks.teams import Teamed


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures shipper.")
    add = parser.add_argument
    add("--scenario", nargs="+", choices=names(), default=[], help="some instead of all of them")
    add("--runs", type=int, default=5, help="of each scenario; the median is reported")
    add("--events", type=int, help="instead of each scenario's own number")
    add("--seconds", type=float, help="how long (h) writes and (i) idles")
    add("--full", action="store_true", help="(g) with 1 and with 5 million events")
    add("--peers", nargs="*", choices=rivals.NAMES, help="other tools too (all); installs them")
    add("--against", type=Path, metavar="TREE", help="also the shipper of another checkout")
    add("--smoke", action="store_true", help="only the promises, in a few seconds; no figures")
    add("--profile", action="store_true", help="ship once under py-spy and print the top")
    add("--write", type=Path, metavar="FILE", help="write the report there too")
    add("--directory", type=Path, help="where the databases lie while it runs")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    for name, reference in REFERENCES.items():
        if name in wanted.scenario and reference not in wanted.scenario:
            say(f"({reference}) runs too: what ({name}) is compared with")
            wanted.scenario.append(reference)
    scenarios: Sequence[Scenario] = (
        [SMOKE]
        if wanted.smoke
        else chosen(wanted.scenario, full=wanted.full, events=wanted.events, seconds=wanted.seconds)
    )
    with (
        tempfile.TemporaryDirectory(prefix="shipper-bench-", dir=wanted.directory) as name,
        open_suite(Path(name), scenarios, say, peers=wanted.peers is not None) as suite,
    ):
        if wanted.smoke:
            return smoke(suite, wanted.against)
        if wanted.profile:
            return profile(suite, scenarios)
        return measure(suite, scenarios, wanted, Path(name))


def smoke(suite: Suite, checkout: Path | None) -> int:
    """Run the smallest backlog with all that runs beside a backlog; print what the log shows."""
    if checkout is not None:
        suite.compare_with(checkout)
    scenario = SMOKE if find_compiler() else replace(SMOKE, slow_sync=0.0)
    results = [result for result in suite.run([scenario], 1) if isinstance(result, Drained)]
    report.render([], results)
    for result in results:
        print(f"the promises were {result.verdict}")
        for other in result.others:
            print("the other version shipped the same" if other.rate else "it shipped nothing")
    is_flawless = all(result.verdict.is_flawless for result in results)
    return int(not results or not is_flawless or bool(suite.failures or suite.left_out))


def profile(suite: Suite, scenarios: Sequence[Scenario]) -> int:
    program = profiler.find()
    if program is None:
        say("there is no py-spy: pip install py-spy")
        return 2
    suite.profile(scenarios, partial(printed_profile, program, suite.fresh()))
    return 0


@contextmanager
def printed_profile(program: str, directory: Path, process: Daemon) -> Iterator[None]:
    output = directory / f"{process.pid}.txt"
    with profiler.profiling(program, process, output):
        yield
    print(profiler.summary(output), flush=True)


def measure(
    suite: Suite, scenarios: Sequence[Scenario], wanted: argparse.Namespace, directory: Path
) -> int:
    # Before anything runs, because the description includes the load.
    facts = machine.describe(directory, suite.versions())
    facts.append(("command", command(wanted)))
    if wanted.against is not None:
        suite.compare_with(wanted.against)
    results = list(suite.run(scenarios, wanted.runs))
    if wanted.peers is not None:
        results += suite.peers(wanted.peers or rivals.NAMES, wanted.runs, wanted.events)
    facts += [("left out", why) for why in suite.left_out]
    facts += [("FAILED", failure) for failure in suite.failures]
    text = report.render(facts, results)
    print(text, end="")
    if wanted.write is not None:
        wanted.write.write_text(text, "utf-8")
    judged = [each.verdict for each in results if isinstance(each, Drained | Flowed | Teamed)]
    return int(bool(suite.failures) or not all(verdict.is_flawless for verdict in judged))


def command(wanted: argparse.Namespace) -> str:
    """Return the command that makes the same report again, without the paths of this machine."""
    words = ["python -m benchmarks"]
    for name in ("scenario", "runs", "events", "seconds", "full", "peers"):
        value = getattr(wanted, name)
        if value is True or (name == "peers" and value == []):
            words.append(f"--{name}")
        elif value:
            words.append(f"--{name} {' '.join(value) if isinstance(value, list) else value}")
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.simulation SEED [--trace]` runs one seed again; `--seeds N` runs many."""

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.planting import is_caught
from tests.simulation.mutants import MUTANTS, planted
from tests.simulation.world import Result, run, run_quietly

TAIL = 40
MOST_TOLD = 10


def main() -> int:
    """Do what the command line says; return its exit status."""
    options = _options()
    if options.mutants:
        return _hunt(options.mutants_of or sorted(MUTANTS), options.first, options.most)
    if options.seeds:
        seeds = range(options.first, options.first + options.seeds)
        return _summary(_results(seeds, options.jobs))
    result = run(options.seed)
    for line in result.trace if options.trace else ():
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{told(result)}\nfingerprint {result.fingerprint}\n")
    return 1 if result.violations else 0


def told(result: Result) -> str:
    """Return what a person needs of a seed: what was violated, how it ended, how to run it again."""
    if not result.violations:
        return f"seed {result.seed}: nothing violated; {_counted(result.counts)}"
    tail = result.trace[-TAIL:]
    return "\n".join(
        (
            f"seed {result.seed} violates:",
            *(f"  {line}" for line in result.violations[:MOST_TOLD]),
            f"the last {len(tail)} lines of its trace:",
            *(f"  {line}" for line in tail),
            f"run it again: python -m tests.simulation {result.seed} --trace",
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="print every line of it")
    parser.add_argument("--seeds", type=int, metavar="N", help="run so many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEED")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="in so many processes")
    parser.add_argument("--mutants", action="store_true", help="find the seed that catches each")
    parser.add_argument("--only", dest="mutants_of", action="append", choices=sorted(MUTANTS))
    parser.add_argument("--most", type=int, default=300, metavar="N", help="seeds to try for each")
    return parser.parse_args()


def _results(seeds: range, jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(run_quietly, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(run_quietly, seeds, chunksize=8)


def _summary(results: Iterable[Result]) -> int:
    counts: Counter[str] = Counter()
    longest = seeds = failed = 0
    for result in results:
        seeds += 1
        longest = max(longest, result.counts.pop("seconds to dry", 0))
        counts += result.counts
        if result.violations:
            failed += 1
            sys.stdout.write(f"{told(result)}\n\n")
            sys.stdout.flush()
    sys.stdout.write(f"{seeds} seeds, {failed} violate something; dry after {longest} s at most\n")
    for name, count in sorted(counts.items()):
        sys.stdout.write(f"{count:>12,} {name}\n")
    return 1 if failed else 0


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _hunt(names: Iterable[str], first: int, most: int) -> int:
    escaped = 0
    for name in names:
        caught = next(
            (
                (seed, found)
                for seed in range(first, first + most)
                if (found := _caught(name, seed))
            ),
            None,
        )
        if caught is None:
            escaped += 1
            sys.stdout.write(f"# {name}: {most} seeds didn't catch it\n")
        else:
            seed, found = caught
            sys.stdout.write(f'    "{name}": {seed},  # {found}\n')
        sys.stdout.flush()
    return 1 if escaped else 0


def _caught(name: str, seed: int) -> str | None:
    with planted(name):
        violations = run(seed).violations
    return violations[0] if is_caught(violations) else None


if __name__ == "__main__":
    sys.exit(main())

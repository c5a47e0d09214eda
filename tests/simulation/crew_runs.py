"""`python -m tests.simulation.crew_runs SEED [--trace]` runs one seed; `--seeds N` runs many.

It starts a PostgreSQL server of its own, unless `$SHIPPER_TEST_PG_URL` names one.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests import conftest
from tests.planting import is_caught
from tests.simulation.crew_database import Server
from tests.simulation.crew_world import run
from tests.simulation.world import Result

TAIL = 60
MOST_TOLD = 10


def main() -> int:
    """Do what the command line says; return its exit status."""
    options = _options()
    with server() as one:
        if options.mutants:
            return _hunt(one, options)
        if options.seeds:
            return _many(one, range(options.first, options.first + options.seeds))
        result = run(options.seed, one)
    for line in result.trace if options.trace else ():
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{told(result)}\nfingerprint {result.fingerprint}\n")
    return 1 if result.violations else 0


def told(result: Result) -> str:
    """Return what a person needs of a seed."""
    if not result.violations:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(result.counts.items()))
        return f"seed {result.seed}: nothing violated; {counted}"
    return "\n".join(
        (
            f"seed {result.seed} violates:",
            *(f"  {line}" for line in result.violations[:MOST_TOLD]),
            f"run it again: python -m tests.simulation.crew_runs {result.seed} --trace",
        )
    )


@contextmanager
def server() -> Iterator[Server]:
    """Give a migrated database for as many seeds as are wanted."""
    with (
        tempfile.TemporaryDirectory(prefix="shipper-pg-") as name,
        pytest.MonkeyPatch.context() as p,
    ):
        given = os.environ.get("SHIPPER_TEST_PG_URL")
        p.setenv("XDG_RUNTIME_DIR", name)
        servers = conftest._bundled_server(Path(name)) if not given else iter([make_url(given)])
        url = next(servers)
        database = conftest._name("crew")
        conftest._administer(url, f"CREATE DATABASE {database}")
        there = url.set(database=database).render_as_string(hide_password=False)
        conftest._migrate(there)
        one = Server(there)
        try:
            yield one
        finally:
            one.close()
            conftest._administer(url, f"DROP DATABASE {database} WITH (FORCE)")
            for _ in servers:
                pass


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.crew_runs", description=__doc__
    )
    parser.add_argument("seed", nargs="?", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="print every line of it")
    parser.add_argument("--seeds", type=int, metavar="N", help="run so many seeds")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEED")
    parser.add_argument("--mutants", action="store_true", help="find the seed that catches each")
    parser.add_argument("--only", action="append", help="of the mutants")
    parser.add_argument("--most", type=int, default=200, metavar="N", help="seeds to try for each")
    return parser.parse_args()


def _many(one: Server, seeds: range) -> int:
    counts: Counter[str] = Counter()
    failed, began = 0, time.monotonic()
    for seed in seeds:
        result = run(seed, one)
        counts += result.counts
        if result.violations:
            failed += 1
            sys.stdout.write(f"{told(result)}\n\n")
            sys.stdout.flush()
    took = time.monotonic() - began
    sys.stdout.write(f"{len(seeds)} seeds in {took:.0f} s, {failed} violate something\n")
    for name, count in sorted(counts.items()):
        sys.stdout.write(f"{count:>12,} {name}\n")
    return 1 if failed else 0


def _hunt(one: Server, options: argparse.Namespace) -> int:
    from tests.simulation.crew_mutants import MUTANTS, planted

    escaped = 0
    for name in options.only or sorted(MUTANTS):
        for seed in range(options.first, options.first + options.most):
            with planted(name):
                violations = run(seed, one).violations
            if is_caught(violations) and not run(seed, one).violations:
                sys.stdout.write(f'    "{name}": {seed},  # {violations[0]}\n')
                break
        else:
            escaped += 1
            sys.stdout.write(f"# {name}: {options.most} seeds didn't catch it\n")
        sys.stdout.flush()
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.campaigns NAME …`: one campaign at any size; exit status 1 on a violation."""

import argparse
import asyncio
import sys
import time

from tests.campaigns import places
from tests.campaigns.answers import bad_answers
from tests.campaigns.crashes import crashes
from tests.campaigns.ext4 import shutdowns
from tests.campaigns.figures import Figures
from tests.campaigns.full_disk import full_disk
from tests.campaigns.io_errors import io_errors
from tests.campaigns.power import power_cuts


def _kill9(given: argparse.Namespace) -> Figures:
    with places.directory() as where, places.database(given.database, where) as url:
        return asyncio.run(
            crashes(
                url, where, kills=given.times, stops=given.stops, seed=given.seed, warm=given.warm
            )
        )


def _power(given: argparse.Namespace) -> Figures:
    with places.directory() as where, places.database("sqlite", where / "outbox") as url:
        return asyncio.run(
            power_cuts(url, where, cuts=given.cuts, seed=given.seed, normal=given.normal)
        )


def _ext4(given: argparse.Namespace) -> Figures:
    with places.directory() as where:
        return asyncio.run(shutdowns(where, cuts=given.cuts, seed=given.seed))


def _io(given: argparse.Namespace) -> Figures:
    with places.directory() as where:
        return asyncio.run(io_errors(where, share=given.share, seed=given.seed))


def _full(given: argparse.Namespace) -> Figures:
    with places.directory() as where:
        return asyncio.run(full_disk(where, times=given.times, seed=given.seed))


def _answers(given: argparse.Namespace) -> Figures:
    return asyncio.run(bad_answers(number=given.number, seed=given.seed, stock=given.stock))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns")
    several = parser.add_subparsers(required=True)
    kill9 = several.add_parser("kill9", help="kill -9 and SIGSTOP at random moments")
    kill9.add_argument("--times", type=int, default=60)
    kill9.add_argument("--stops", type=int, default=10)
    kill9.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    kill9.add_argument("--warm", action="store_true", help="fork daemons instead of starting them")
    kill9.set_defaults(run=_kill9)
    power = several.add_parser("power", help="power cuts, on a disk that keeps what was synced")
    power.add_argument("--cuts", type=int, default=500)
    power.add_argument("--normal", action="store_true", help="the application commits with NORMAL")
    power.set_defaults(run=_power)
    ext4 = several.add_parser("ext4", help="power cuts of a real file system; as root")
    ext4.add_argument("--cuts", type=int, default=20)
    ext4.set_defaults(run=_ext4)
    io = several.add_parser("io", help="operations on the outbox's files that fail")
    io.add_argument("--share", type=float, default=1.0, help="of all operations; 1 is every one")
    io.set_defaults(run=_io)
    full = several.add_parser("full", help="a disk that is full, and freed again; as root")
    full.add_argument("--times", type=int, default=20)
    full.set_defaults(run=_full)
    answers = several.add_parser("answers", help="bad answers to the real client, over sockets")
    answers.add_argument("--number", type=int, default=5000)
    answers.add_argument("--stock", action="store_true", help="to the one that stands in for ours")
    answers.set_defaults(run=_answers)
    for one in several.choices.values():
        one.add_argument("--seed", type=int, default=1)
    return parser


def main(arguments: list[str]) -> int:
    """Run one campaign and print what came of it."""
    given = _parser().parse_args(arguments)
    began = time.monotonic()
    figures: Figures = given.run(given)
    sys.stdout.write("\n".join([*figures.lines(), f"  {time.monotonic() - began:.0f} s"]) + "\n")
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

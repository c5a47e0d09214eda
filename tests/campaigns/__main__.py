"""`python -m tests.campaigns NAME …`: one campaign at any size; exit status 1 on a violation."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests import standbys
from tests.campaigns import fault_list, places
from tests.campaigns.answers import bad_answers
from tests.campaigns.audits import audits
from tests.campaigns.clocks import clock_jumps
from tests.campaigns.clusters import clusters
from tests.campaigns.crashes import crashes
from tests.campaigns.daemons import LEASE, daemons
from tests.campaigns.ext4 import shutdowns
from tests.campaigns.failovers import failovers
from tests.campaigns.figures import Figures
from tests.campaigns.full_disk import full_disk
from tests.campaigns.interleavings import interleavings
from tests.campaigns.io_errors import io_errors
from tests.campaigns.network import bad_network
from tests.campaigns.planted import PLANTED, planted
from tests.campaigns.power import power_cuts
from tests.campaigns.rows import bad_rows
from tests.campaigns.secrets import leaks
from tests.campaigns.soak import soak
from tests.campaigns.values import configurations, header_values

Given = argparse.Namespace
Work = Callable[[str, Path], Coroutine[Any, Any, Figures]]


def _with_outbox(kind: str, work: Work) -> Figures:
    """Do the work with the URL of an outbox and a directory; of SQLite nothing else is beside it."""
    with places.directory() as where:
        beside = where / "outbox" if kind == "sqlite" else where
        with places.database(kind, beside) as url:
            return asyncio.run(work(url, where))


def _with_directory(work: Callable[[Path], Coroutine[Any, Any, Figures]]) -> Figures:
    with places.directory() as where:
        return asyncio.run(work(where))


def _kill9(given: Given) -> Figures:
    sizes = {"kills": given.times, "stops": given.stops, "seed": given.seed, "warm": given.warm}
    return _with_outbox(given.database, lambda url, where: crashes(url, where, **sizes))


def _daemons(given: Given) -> Figures:
    """Give each round an outbox of its own."""
    total = Figures(f"several daemons, {given.times} rounds of {given.seconds:.0f} s", given.seed)
    for seed in range(given.seed, given.seed + given.times):
        sizes = {
            "seconds": given.seconds,
            "lease": given.lease,
            "seed": seed,
            "spares": given.spares,
        }
        figures = _with_outbox("postgres", lambda url, where: daemons(url, where, **sizes))  # noqa: B023
        sys.stdout.write("\n".join(figures.lines()) + "\n")
        sys.stdout.flush()
        total.add(figures)
    return total


def _power(given: Given) -> Figures:
    sizes = {"cuts": given.cuts, "seed": given.seed, "normal": given.normal}
    return _with_outbox("sqlite", lambda url, where: power_cuts(url, where, **sizes))


def _ext4(given: Given) -> Figures:
    return _with_directory(lambda where: shutdowns(where, cuts=given.cuts, seed=given.seed))


def _io(given: Given) -> Figures:
    return _with_directory(lambda where: io_errors(where, share=given.share, seed=given.seed))


def _full(given: Given) -> Figures:
    return _with_directory(lambda where: full_disk(where, times=given.times, seed=given.seed))


def _answers(given: Given) -> Figures:
    return asyncio.run(bad_answers(number=given.number, seed=given.seed, stock=given.stock))


def _rows(given: Given) -> Figures:
    sizes = {"number": given.number, "seed_": given.seed, "mode": given.mode}
    return _with_outbox(given.database, lambda url, where: bad_rows(url, where, **sizes))


def _values(given: Given) -> Figures:
    return header_values(number=given.number, seed_=given.seed)


def _configurations(given: Given) -> Figures:
    with places.directory() as where:
        return configurations(where, number=given.number, seed_=given.seed)


def _orders(_: Given) -> Figures:
    with places.directory() as where, places.database("postgres", where) as url:
        return interleavings(url, long=True)


def _failovers(given: Given) -> Figures:
    with places.directory() as where, standbys.stage(where) as stage:
        room = where / "room"
        standbys.make_room(room)
        return failovers(stage, room, times=given.times, seed=given.seed)


def _clusters(given: Given) -> Figures:
    with places.directory() as where, standbys.stage(where) as stage, ExitStack() as stack:
        room = where / "room"
        standbys.make_room(room)
        if given.planted:
            stack.enter_context(planted(given.planted))
        return clusters(stage, room, seeds=range(given.seed, given.seed + given.seeds))


def _network(given: Given) -> Figures:
    sizes = {"strikes": given.strikes, "seed": given.seed}
    return _with_outbox(given.database, lambda url, where: bad_network(url, where, **sizes))


def _clocks(given: Given) -> Figures:
    sizes = {"times": given.times, "seed": given.seed}
    return _with_outbox("sqlite", lambda url, where: clock_jumps(url, where, **sizes))


def _soak(given: Given) -> Figures:
    sizes = {"seconds": given.hours * 3600, "rate": given.rate, "seed": given.seed}
    return _with_outbox(given.database, lambda url, where: soak(url, where, **sizes))


def _verify(given: Given) -> Figures:
    sizes = {"rows": given.rows, "times": given.times, "most": given.most, "seed": given.seed}
    return _with_outbox(given.database, lambda url, where: audits(url, where, **sizes))


def _canaries(given: Given) -> Figures:
    return _with_outbox(given.database, leaks)


def _faults(given: Given) -> Figures:
    fault_list.write()
    return Figures(f"wrote {fault_list.FILE.name}, and its short form in a document", given.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns")
    campaigns = parser.add_subparsers(required=True)

    def campaign(
        name: str, run: Callable[[Given], Figures], about: str, *, databases: bool = False
    ) -> argparse.ArgumentParser:
        one = campaigns.add_parser(name, help=about, description=about)
        one.add_argument("--seed", type=int, default=1)
        if databases:
            one.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
        one.set_defaults(run=run)
        return one

    kill9 = campaign("kill9", _kill9, "kill -9 and SIGSTOP at random moments", databases=True)
    kill9.add_argument("--times", type=int, default=60)
    kill9.add_argument("--stops", type=int, default=10)
    kill9.add_argument("--warm", action="store_true", help="fork daemons instead of starting them")
    several = campaign("daemons", _daemons, "several daemons on one PostgreSQL, in trouble")
    several.add_argument("--times", type=int, default=1, help="rounds, each with its own outbox")
    several.add_argument("--seconds", type=float, default=60.0, help="of trouble in a round")
    several.add_argument("--lease", type=float, default=LEASE, help="seconds")
    several.add_argument("--spares", action="store_true", help="a bug: no token is ever ended")
    power = campaign("power", _power, "power cuts, on a disk that keeps only what was synced")
    power.add_argument("--cuts", type=int, default=500)
    power.add_argument("--normal", action="store_true", help="the application commits with NORMAL")
    campaign("ext4", _ext4, "power cuts of a real ext4; as root").add_argument(
        "--cuts", type=int, default=20
    )
    campaign("io", _io, "operations on the outbox's files that fail").add_argument(
        "--share", type=float, default=1.0, help="of all operations; 1 is every one"
    )
    campaign("full", _full, "a disk that is full, and freed again; as root").add_argument(
        "--times", type=int, default=20
    )
    answers = campaign("answers", _answers, "bad answers to the real client, over sockets")
    answers.add_argument("--number", type=int, default=5000)
    answers.add_argument("--stock", action="store_true", help="to the one that stands in for ours")
    rows = campaign("rows", _rows, "bad rows, and good ones among them", databases=True)
    rows.add_argument("--number", type=int, default=5000)
    rows.add_argument("--mode", choices=["envelope", "off"], default="envelope")
    campaign("values", _values, "values of Retry-After and Date, and event ids").add_argument(
        "--number", type=int, default=5000
    )
    campaign("configs", _configurations, "configuration files of any kind").add_argument(
        "--number", type=int, default=5000
    )
    campaign("orders", _orders, "every order of two applications' and a daemon's steps")
    campaign("failovers", _failovers, "failovers that lose commits").add_argument(
        "--times", type=int, default=20
    )
    several_seeds = campaign("clusters", _clusters, "PostgreSQL as it is run, on virtual time")
    several_seeds.add_argument("--seeds", type=int, default=300)
    several_seeds.add_argument("--planted", choices=sorted(PLANTED), help="with a bug")
    network = campaign("network", _network, "a bad network, by a proxy", databases=True)
    network.add_argument("--strikes", type=int, default=300)
    campaign("clocks", _clocks, "wall-clock jumps").add_argument("--times", type=int, default=1)
    one = campaign("soak", _soak, "hours of work, and what it uses", databases=True)
    one.add_argument("--hours", type=float, default=8.0)
    one.add_argument("--rate", type=float, default=50.0, help="events a second")
    verify = campaign("verify", _verify, "shipper verify of a large outbox", databases=True)
    verify.add_argument("--rows", type=int, default=1_000_000)
    verify.add_argument("--times", type=int, default=3)
    verify.add_argument("--most", type=float, default=10.0, help="seconds that it may take")
    campaign("canaries", _canaries, "secrets in whatever is written", databases=True)
    campaign("faults", _faults, "write FAULTS.md and its short form")
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

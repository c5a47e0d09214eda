"""Power cuts: at any moment of real processes' work, on a disk that keeps only what was synced.

The daemon and an application run under `shim.c`, which logs what they do to the outbox's files;
into the same log go what the application was told is committed, and what the receiver has got. At
random places of that log the power is cut: `Disk` tells what could be found then, and it is opened
as after a start of the machine. Afterwards all processes are killed, and the next round begins on
what a cut at that very moment has left: so recovery itself meets power cuts too. What has to be
true after every cut:

- the file is whole (`PRAGMA integrity_check`, and the rules of `shipper verify`);
- where the application commits with full durability, what it was told is committed is there;
- whatever it commits with, the receiver has got nothing that isn't there;
- what it has got and isn't recorded will be sent first of its key, and is no more than was in
  flight.
"""

import asyncio
import random
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from shipper.sandbox import Chaos
from shipper.sandbox.ledger import Visit
from tests.campaigns.aftermath import inspect
from tests.campaigns.books import Books
from tests.campaigns.crashes import Outcry, outcry
from tests.campaigns.disk import Disk
from tests.campaigns.disklog import Record, encode, records
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher
from tests.campaigns.shim import preloaded
from tests.campaigns.writer import ACKNOWLEDGED

RECEIVED = "V"
ROUND_SECONDS = 1.0
CUTS_A_ROUND = 125
CHAOS = "slow:20ms:0.3,503:0.01,lost:0.01,reset:0.01,drop:0.01,422:0.002"


@dataclass(slots=True)
class Timeline:
    """What had happened at the moment of a cut: told to applications, received, by which visit."""

    told: set[str] = field(default_factory=set)
    received: dict[str, int] = field(default_factory=dict)

    def feed(self, record: Record) -> None:
        """Take in a record of the campaign's own."""
        if record.kind == ACKNOWLEDGED:
            self.told.update(record.data.decode("ascii").split())
        elif record.kind == RECEIVED:
            self.received[record.data.decode("ascii")] = record.offset


class LoggedBooks(Books):
    """Books that note in the log of the disk, too, what has been received."""

    def __init__(self) -> None:
        super().__init__()
        self.log: Path | None = None
        self.visited: dict[int, Visit] = {}

    def process(self, visit: Visit) -> None:
        """Note that an event was taken, before it is answered."""
        super().process(visit)
        self.visited[visit.seq] = visit
        if self.log is not None:
            with self.log.open("ab", buffering=0) as log:
                log.write(encode(RECEIVED, str(visit.key).encode("ascii"), visit.seq))


class PowerCuts:
    """One chain of rounds, each on the disk that the one before has left."""

    def __init__(
        self,
        scene: Outcry,
        books: LoggedBooks,
        figures: Figures,
        where: Path,
        *,
        lying: bool = False,
    ) -> None:
        self.scene = scene
        self.books = books
        self.figures = figures
        self._where = where
        self._lie = ";lie=1" if lying else ""
        self._chance = random.Random(figures.seed)
        self._timeline = Timeline()
        self._round = 0
        self._since = 0

    async def round(self, launcher: Launcher, synchronous: str, cuts: int) -> None:
        """Let processes work, kill them all, cut the power so many times, and go on from there."""
        self._round += 1
        self._since = len(self.books.moments)
        place = self._where / f"round-{self._round}"
        before = database_directory(self.scene)
        log = self._where / f"log-{self._round}"
        log.touch()
        self.books.log = log
        orders = f"prefix={before}/;log={log}"
        disk = Disk(before)
        daemon = await launcher.start(
            "run", "-c", str(self.scene.shop.config), shim=orders + self._lie
        )
        library = "pysqlite3" if find_spec("pysqlite3") else "sqlite3"
        options = ("--log", str(log), "--library", library, "--checkpoint", "40")
        await self.scene.start_writers(
            *options, "--synchronous", synchronous, environ=preloaded(orders)
        )
        await asyncio.sleep(ROUND_SECONDS + self._chance.random())
        daemon.kill()
        await daemon.ended()
        await self.scene.kill_writers()
        await self.scene.deaf()
        self.books.log = None
        durable = synchronous == "FULL"
        await asyncio.to_thread(self._cut_anywhere, log, disk, cuts, durable)
        if self._lie or not durable:
            # What an application has lost it would write again under the same names.
            return
        place.mkdir()
        disk.after_power_cut(self._chance, place)
        self.scene.move_to(f"sqlite:///{place / 'shop.db'}")
        self.books.forgive(self.scene.pending())

    def _cut_anywhere(self, log: Path, disk: Disk, cuts: int, durable: bool) -> None:  # noqa: FBT001
        found = list(records(log))
        at = sorted(self._chance.choices(range(len(found) + 1), k=cuts))
        for position, record in enumerate([*found, None]):
            while at and at[0] == position:
                at.pop(0)
                with scratch() as image:
                    disk.after_power_cut(self._chance, image)
                    where = f"round {self._round}, record {position} of {len(found)}"
                    for fault in self._found_in(image, durable=durable):
                        self.figures.fault(f"{where}: {fault}")
                self.figures.tried["power cuts"] += 1
            if record is not None:
                disk.feed(record)
                self._timeline.feed(record)
        self.figures.tried["operations on disk"] += len(found)

    def _found_in(self, image: Path, *, durable: bool) -> Iterator[str]:
        visits = self.books.visited
        return inspect(
            f"sqlite:///{image / 'shop.db'}",
            self.figures,
            told=self._timeline.told,
            received={name: visits[seq] for name, seq in self._timeline.received.items()},
            durable=durable,
            since=self._since,
        )


def database_directory(scene: Outcry) -> Path:
    """Return where the outbox lies; nothing else lies there."""
    return Path(scene.shop.url.removeprefix("sqlite:///")).parent


@contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty directory in memory, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


async def power_cuts(
    url: str,
    where: Path,
    *,
    cuts: int,
    seed: int,
    normal: bool = False,
    lying: bool = False,
) -> Figures:
    """Cut the power so many times; with `normal` the application commits below full durability.

    With `lying` the disk says that it has synced for the daemon and has not: no promise can hold
    then, and a campaign that finds nothing is blind.
    """
    name = "NORMAL" if normal else "FULL"
    figures = Figures(f"power cuts, the application commits with {name}", seed)
    books = LoggedBooks()
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(outcry(url, where, books))
        launcher = await stack.enter_async_context(Launcher(where, environ=preloaded()))
        scene.shop.sandbox.chaos = Chaos.parse(CHAOS)
        chain = PowerCuts(scene, books, figures, where, lying=lying)
        while cuts > 0:
            share = min(cuts, CUTS_A_ROUND)
            await chain.round(launcher, name, share)
            cuts -= share
            if normal or lying:
                return figures
        await scene.finish(launcher, figures)
    return figures

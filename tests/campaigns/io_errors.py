"""Every operation on the outbox's files fails: once, or from there on, with EIO or with ENOSPC.

A daemon under `shim.c` opens an outbox, ships what is in it and what comes while it runs, and
stops. Each run lets another of its operations fail: opening, reading, writing, growing, mapping,
syncing, removing. Whatever it is, the daemon

- goes on, or ends by itself with a status that says why; never with a traceback or a signal;
- can be stopped; sends nothing again itself that was answered whole;
- leaves a file that is whole, from which the next daemon ships everything, in order.
"""

import asyncio
import errno
import random
import shutil
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.aftermath import inspect
from tests.campaigns.books import Books
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher, Life
from tests.campaigns.power import scratch
from tests.campaigns.shim import preloaded
from tests.conftest import _migrate
from tests.daemon.harness import Shop, several
from tests.daemon.processes import until

AT_ONCE = 8
# sysexits.h: the database is out of reach; systemd starts the daemon anew. Not 77 or 78, after which
# it doesn't, because they mean that somebody has to act first.
SAID_WHY = frozenset({69})
# What a daemon says that waits for its database.
_IN_VAIN = ('"store.lost"', '"daemon.waiting"')


@dataclass(frozen=True, slots=True)
class Failure:
    """The operation that fails: its number among all (or among those that may need space)."""

    at: int
    code: int
    forever: bool

    @property
    def orders(self) -> str:
        """Return it as the shim wants it."""
        return f"fail={self.at}:{self.code}:{int(self.forever)}:{int(self.code == errno.ENOSPC)}"

    def __str__(self) -> str:
        """Return it for a person."""
        often = "from there on" if self.forever else "once"
        return f"{errno.errorcode[self.code]} {often} at operation {self.at}"


# Operations that open the files: what fails once there is met by all that comes after.
_OPENING = 3


class Run:
    """One outbox, and the lives of two daemons."""

    def __init__(
        self, number: int, where: Path, template: Path, launcher: Launcher, books: Books
    ) -> None:
        self._books = books
        self._where = where / f"run-{number}"
        self._where.mkdir()
        self._outbox = self._where / "outbox"
        shutil.copytree(template, self._outbox)
        self._order = [f"r{number}{name}" for name in several(users=3, each=2)]
        self._count = self._where / "count"
        self._count.write_bytes(bytes(8))
        self._launcher = launcher
        self.shop = Shop(f"sqlite:///{self._outbox / 'shop.db'}", self._where)

    @property
    def names(self) -> set[str]:
        """Return the events of this run."""
        return set(self._order)

    @property
    def operations(self) -> int:
        """Return how many operations there were."""
        found: int = struct.unpack("q", self._count.read_bytes())[0]
        return found

    async def live(self, failure: Failure) -> Life:
        """Ship with an operation that fails, until all is done or it can't be; stop."""
        self.shop.add(*self._order[:3])
        orders = f"prefix={self._outbox}/;count={self._count};{failure.orders}"
        life = await self._launcher.start("run", "-c", str(self.shop.config), shim=orders)
        await until(lambda: self._is_through(life, failure, 3))
        if life.is_alive:
            self.shop.add(*self._order[3:])
            await until(lambda: self._is_through(life, failure, 6))
        life.signal(signal.SIGTERM)
        await life.ended()
        return life

    def _is_through(self, life: Life, failure: Failure, events: int) -> bool:
        if not life.is_alive or self._books.taken.keys() >= set(self._order[:events]):
            return True
        return failure.forever and any(word in life.stderr for word in _IN_VAIN)

    async def live_on(self) -> Life:
        """Ship the rest with a daemon whose disk is sound."""
        present = {row[0] for row in self.shop.rows("SELECT event_id FROM shipper_outbox")}
        self.shop.add(*(name for name in self._order if name not in present))
        life = await self._launcher.start("run", "-c", str(self.shop.config))
        await life.told("daemon.started")
        await self.shop.settled()
        life.signal(signal.SIGTERM)
        await life.ended()
        return life

    def pending(self) -> list[str]:
        """Return what isn't recorded."""
        found = self.shop.rows("SELECT event_id FROM shipper_outbox WHERE status = 'pending'")
        return [row[0] for row in found]

    def close(self) -> None:
        """Leave nothing of it."""
        self.shop.move_to(self.shop.url)
        shutil.rmtree(self._where)


class Campaign:
    """All the runs, against one receiver."""

    def __init__(self, figures: Figures, where: Path, launcher: Launcher, receiver: Shop) -> None:
        self._figures = figures
        self._where = where
        self._launcher = launcher
        self._receiver = receiver
        self._books = Books()
        receiver.sandbox.ledger = self._books
        self._template = where / "template"
        _migrate(f"sqlite:///{self._template / 'shop.db'}", create=True)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._number = 0

    @property
    def unexpected(self) -> list[str]:
        """Return the repeats that nothing explains."""
        return self._books.unexpected

    async def operations(self, code: int) -> int:
        """Return how many operations there are when none fails."""
        return await self.run(Failure(10**9, code, forever=False))

    async def run(self, failure: Failure) -> int:
        """Let one operation fail, and judge; return how many there were."""
        async with self._places:
            self._number += 1
            run = Run(self._number, self._where, self._template, self._launcher, self._books)
            run.shop.sandbox = self._receiver.sandbox
            run.shop.configure()
            async for fault in self._judge(run, failure):
                self._figures.fault(f"{failure}: {fault}")
            self._figures.tried[errno.errorcode[failure.code]] += 1
            operations = run.operations
            run.close()
            return operations

    async def _judge(self, run: Run, failure: Failure) -> AsyncIterator[str]:
        try:
            life = await run.live(failure)
        except TimeoutError:
            yield "it neither went on nor ended"
            return
        status = await life.ended()
        self._figures.tried[f"ended with {status}"] += 1
        if status not in SAID_WHY | {0} or "Traceback" in life.stderr:
            yield f"it ended with {status}: {life.stderr[-1500:]}"
        received = {key: seen for key, seen in self._books.taken.items() if key in run.names}
        for fault in inspect(
            run.shop.url, self._figures, told=set(), received=received, durable=True
        ):
            yield fault
        self._books.forgive(run.pending())
        after = await run.live_on()
        if await after.ended():
            yield f"the next daemon ended with {await after.ended()}: {after.stderr[-1500:]}"
        missing = run.names - self._books.taken.keys()
        if missing:
            yield f"never received: {sorted(missing)}"


async def io_errors(where: Path, *, share: float, seed: int) -> Figures:
    """Let that share of all operations fail, one a run: once and for ever, with EIO and ENOSPC."""
    figures, chance = Figures("operations on files that fail", seed), random.Random(seed)
    async with AsyncExitStack() as stack:
        place = stack.enter_context(scratch())
        (place / "receiver").mkdir()
        _migrate(f"sqlite:///{place / 'receiver' / 'shop.db'}", create=True)
        receiver = Shop(f"sqlite:///{place / 'receiver' / 'shop.db'}", place / "receiver")
        await receiver.open()
        stack.push_async_callback(receiver.close)
        launcher = await stack.enter_async_context(Launcher(where, environ=preloaded()))
        campaign = Campaign(figures, place, launcher, receiver)
        failures = []
        for code in (errno.EIO, errno.ENOSPC):
            operations = await campaign.operations(code)
            figures.measure(f"operations of a life, {errno.errorcode[code]}", operations)
            failures += [
                Failure(at, code, forever)
                for at in range(1, operations + 1)
                for forever in (False, True)
                if at <= _OPENING or chance.random() < share
            ]
        await asyncio.gather(*(campaign.run(failure) for failure in failures))
        summary = receiver.sandbox.ledger.summary()
        figures.expect(summary.flawless, f"the receiver saw {summary}")
        figures.fault(*campaign.unexpected)
    return figures

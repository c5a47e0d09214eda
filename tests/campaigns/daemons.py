"""Three daemons on one PostgreSQL, and a fourth that comes and goes, in all kinds of trouble.

While applications write all the time, some keys hot, at random moments a daemon is killed (on this
machine or, as the others see it, on another one), stands still for longer or shorter than its lease,
is cut off from the database, has a clock that is an hour off, is stopped and started, or joins. Several
may be in trouble at once. Then all is let go on to its end. What has to be true:

- nothing is lost; of a key everything comes in order, and one at a time, whichever daemon sends it;
- what comes again comes before everything else of its key, and was in flight at a daemon in trouble:
  no more for one trouble than may be in flight (`senders`);
- a daemon ends by itself only with 75, after it stood still or was cut off, or with 69, if it loses the
  database before it ships;
- `shipper verify` finds nothing.
"""

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from shipper.sandbox import Chaos, RequestInfo, Sandbox
from tests.campaigns.clocks import Watch
from tests.campaigns.crashes import MAX_IN_FLIGHT, Outcry, outcry
from tests.campaigns.figures import Figures
from tests.campaigns.gates import Gate
from tests.campaigns.lives import Launcher
from tests.campaigns.senders import Sender, SendersBooks, Trouble, api_id
from tests.campaigns.shim import preloaded
from tests.daemon.processes import until

PLACES: Final = ("one", "two", "three")
FOURTH: Final = "four"
LEASE: Final = 3.0
_HOUR: Final = 3600.0
_TIMEOUT: Final = 0.7
_RATE: Final = 120.0
_CHAOS: Final = "slow:20ms:0.2,slow:150ms:0.05,503:0.01,drop:0.005,lost:0.01,reset:0.01,422:0.001"
# Something is in flight whenever one falls asleep.
_SLOW: Final = "slow:60ms:1"
# Seconds between two troubles, on average; with three daemons, several are in trouble at once.
_EVERY: Final = 0.9
_PATIENCE: Final = 90.0
_TOLD_OFF: Final = 75
_UNREACHABLE: Final = 69
KINDS: Final = ("kill", "still", "asleep", "cut", "parted", "clock", "stop", "fourth")


class _Place:
    """Where one daemon after the other runs, with a gate and a clock of its own."""

    def __init__(self, name: str, url: str, directory: Path) -> None:
        self.name = name
        self.gate = Gate(url)
        self.watch = Watch(directory / f"watch-{name}")
        self.config = directory / f"{name}.toml"
        self.sender: Sender | None = None
        self.is_busy = False


class _Round:
    """One outbox, its daemons, and what happens to them."""

    def __init__(
        self,
        scene: Outcry,
        books: SendersBooks,
        launcher: Launcher,
        figures: Figures,
        *,
        lease: float,
        spares: bool,
        kinds: Sequence[str],
    ) -> None:
        self._scene = scene
        self._books = books
        self._launcher = launcher
        self._figures = figures
        self._lease = lease
        self._spares = spares
        self._kinds = kinds
        self._chance = random.Random(figures.seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        url, directory = scene.shop.url, scene.shop.directory
        self._places = [_Place(name, url, directory) for name in (*PLACES, FOURTH)]

    async def open(self, stack: AsyncExitStack) -> None:
        """Start three daemons."""
        for place in self._places:
            await place.gate.start()
            stack.push_async_callback(place.gate.stop)
        for place in self._places[: len(PLACES)]:
            await self._begin(place)

    async def trouble(self, seconds: float) -> None:
        """Make trouble for so long, then wait until all troubles are over."""
        end = _now() + seconds
        kinds: list[str] = []
        while _now() < end:
            # What is tried is any moment: only chance says when the next thing happens.
            await asyncio.sleep(self._chance.expovariate(1 / _EVERY))
            free = [place for place in self._places if not place.is_busy and place.sender]
            # With the bug, one is left that takes over.
            if len(free) > self._spares:
                kinds = kinds or self._chance.sample(self._kinds, len(self._kinds))
                kind = kinds.pop()
                self._run(kind, self._places[-1] if kind == "fourth" else self._chance.choice(free))
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def finish(self) -> None:
        """Let the daemons ship the rest, and stop them cleanly."""
        for place in self._places:
            # A slow machine can notice only now that it was taken over.
            if place.sender is not None and not place.sender.life.is_alive:
                await self._look(place)
        await self._settle()
        for place in self._places:
            if place.sender is not None:
                await self._stop(place)
        self._figures.fault(*self._books.explain(MAX_IN_FLIGHT))
        self._figures.tried["sent as it woke"] += len(self._books.late)
        for count in self._books.repeats_by_trouble.values():
            self._figures.measure("repeats for a trouble that had any", count)

    async def _settle(self) -> None:
        """Wait until nothing is pending any more; that it comes no nearer to it is a fault."""
        while left := len(self._scene.pending()):
            try:
                await until(lambda: len(self._scene.pending()) < left, _PATIENCE)
            except TimeoutError:
                told = [place.sender.life.stderr[-500:] for place in self._places if place.sender]
                self._figures.fault(f"{left} events stay pending: {told}")
                return

    # -- what happens ----------------------------------------------------------------------------

    def _run(self, kind: str, place: _Place) -> None:
        if place.is_busy:
            return
        place.is_busy = True
        task = asyncio.create_task(self._happen(kind, place))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _happen(self, kind: str, place: _Place) -> None:
        self._figures.tried[kind] += 1
        try:
            match kind:
                case "kill":
                    await self._kill(place)
                case "still":
                    await self._stand_still(place, self._lease * self._chance.uniform(0.02, 0.6))
                case "asleep":
                    # With the bug, long enough that another one has certainly taken over.
                    least = 2.5 if self._spares else 1.4
                    await self._stand_still(place, self._lease * self._chance.uniform(least, 2.5))
                case "cut":
                    await self._cut(place, self._lease * self._chance.uniform(0.02, 0.6))
                case "parted":
                    await self._cut(place, self._lease * self._chance.uniform(1.4, 3.0))
                case "clock":
                    place.watch.set(self._chance.choice((-_HOUR, 0.0, _HOUR)))
                case "stop":
                    await self._stop(place)
                    await self._begin(place)
                case _:
                    await (self._begin(place) if place.sender is None else self._stop(place))
        except Exception as error:  # noqa: BLE001 - a task has nobody to raise to
            self._figures.fault(f"{kind} of {place.name}: {error!r}")
        place.is_busy = False

    async def _begin(self, place: _Place) -> None:
        number = next(self._numbers)  # others may begin meanwhile
        self._scene.shop.configure(
            file=place.config,
            database=place.gate.url,
            api_id=api_id(number),
            timeout=_TIMEOUT,
            max_in_flight=MAX_IN_FLIGHT,
            more=f'[daemon]\nname = "{place.name}"',
        )
        machine = self._chance.choice(("", f"machine-{number}"))
        life = await self._launcher.start(
            *("run", "-c", str(place.config)),
            shim=f"clock={place.watch.file}",
            lease=self._lease,
            machine=machine,
            spares=self._spares,
        )
        place.sender = Sender(number, place.name, life, machine or "this machine")
        self._books.senders[number] = place.sender
        self._figures.tried["processes"] += 1
        # Some are in the next trouble before they ship.
        if self._chance.random() < 0.7:
            await life.told("daemon.started", _PATIENCE)

    async def _kill(self, place: _Place) -> None:
        sender = _of(place)
        sender.life.kill()
        if await sender.life.ended() != -signal.SIGKILL:
            await self._look(place)  # it has found out just before that it was taken over
            return
        sender.troubles.append(Trouble("kill", _now()))
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._lease * self._chance.uniform(0.0, 2.0))
        await self._begin(place)

    async def _stand_still(self, place: _Place, seconds: float) -> None:
        sender = _of(place)
        trouble = Trouble("still", _now())
        sender.troubles.append(trouble)
        sender.life.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        trouble.ended = _now()
        sender.life.signal(signal.SIGCONT)
        await self._look(place)

    async def _cut(self, place: _Place, seconds: float) -> None:
        sender = _of(place)
        trouble = Trouble("cut", _now())
        sender.troubles.append(trouble)
        place.gate.cut(silent=self._chance.random() < 0.6)
        await asyncio.sleep(seconds)
        place.gate.mend(late=self._chance.random() < 0.6)
        trouble.ended = _now()
        await self._look(place)

    async def _look(self, place: _Place) -> None:
        """Give it time to find out that it was taken over; where it was, begin again."""
        life = _of(place).life
        with suppress(TimeoutError):
            status = await life.ended(self._lease)
            self._figures.tried["taken over"] += 1
            # One that loses its connection while it starts says so, and is to be started again.
            starts = not life.said("daemon.started")
            taken = status == _TOLD_OFF and _of(place).troubles
            fine = taken or (starts and status == _UNREACHABLE)
            self._figures.expect(fine, f"{_of(place)} ended with {status}: {life.stderr[-800:]}")
            await self._begin(place)

    async def _stop(self, place: _Place) -> None:
        sender = _of(place)
        # One that hasn't started yet has no signal handlers.
        await until(
            lambda: sender.life.said("daemon.started") or not sender.life.is_alive, _PATIENCE
        )
        sender.life.signal(signal.SIGTERM)
        status = await sender.life.ended(_PATIENCE)
        # Even if another one stands still in a transaction.
        recorded = not sender.life.said("store.given_up")
        self._figures.expect(recorded, f"{sender} gave up at its stop: {sender.life.stderr[-800:]}")
        # One that has just found out that it was taken over may end by the signal.
        late = status in {_TOLD_OFF, -signal.SIGTERM} and sender.troubles
        self._figures.expect(
            status == 0 or late, f"{sender} ended with {status}: {sender.life.stderr[-800:]}"
        )
        place.sender = None


def _of(place: _Place) -> Sender:
    assert place.sender is not None
    return place.sender


async def daemons(
    url: str,
    directory: Path,
    *,
    seconds: float,
    seed: int,
    lease: float = LEASE,
    spares: bool = False,
    kinds: Sequence[str] = KINDS,
) -> Figures:
    """Let daemons be in trouble of these kinds for so many seconds, and look at what came of it.

    With `spares` they have a bug: they take over without ending the token of the one before.
    """
    figures, books = Figures("several daemons", seed), SendersBooks()
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(outcry(url, directory, books))
        await scene.shop.sandbox.stop()
        scene.shop.sandbox = Sandbox(validation="envelope")
        scene.shop.sandbox.ledger = books
        await scene.shop.sandbox.start()

        def note(request: RequestInfo) -> None:
            books.note_sender(request)

        scene.shop.sandbox.answer_for = note
        scene.shop.sandbox.chaos = Chaos.parse(_SLOW if spares else _CHAOS)
        launcher = await stack.enter_async_context(Launcher(directory, environ=preloaded()))
        one = _Round(scene, books, launcher, figures, lease=lease, spares=spares, kinds=kinds)
        await one.open(stack)
        await scene.start_writers("--hot", "0.3", rate=_RATE)
        await until(lambda: bool(books.taken), _PATIENCE)
        await one.trouble(seconds)
        await scene.stop_writers()
        scene.shop.sandbox.chaos = Chaos()
        await one.finish()
        books.unexpected.clear()
        scene.judge(figures, launcher)
        scene.configure()
        verify = await launcher.start("verify", "-c", str(scene.shop.config))
        figures.expect(await verify.ended() == 0, verify.stdout + verify.stderr)
    return figures


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)

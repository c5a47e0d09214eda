"""kill -9, and SIGSTOP with SIGCONT, at random moments of a daemon's life, its beginning included.

While applications write and the receiver fails now and then, a daemon is killed, and the next one
started at once; it may be killed before it has sent anything. Then everything is let go on to its
end. What has to be true, after every kill and in the end:

- what was answered whole and isn't recorded (it will come again) is at most what was in flight;
- nothing else comes again, and what does comes before everything else of its key;
- every event that an application was told is committed is delivered, or dead with a reason;
- the receiver has no event that wasn't committed; of a key they came in order, one at a time;
- `shipper verify` finds nothing.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from shipper.sandbox import Chaos
from tests.campaigns.books import Books
from tests.campaigns.figures import Figures
from tests.campaigns.judgement import ROWS, said, violations
from tests.campaigns.lives import ROOT, Launcher, Life
from tests.daemon.harness import API_ID, Shop, name
from tests.daemon.processes import until

MAX_IN_FLIGHT = 8
USERS = 40
WRITERS = 2
RATE = 150.0
TIMEOUT = 5.0
CHAOS = (
    "slow:20ms:0.15,503:0.01,500:0.01,drop:0.005,lost:0.01,reset:0.01,truncate:0.005,"
    "garbage:0.005,html:0.001,401:0.0005,429:0.001:0s,422:0.001"
)
# Uniform from the start of a process, so that some die before they have sent anything; of every
# second one from the moment on at which it is ready.
LONGEST_LIFE = {True: 0.6, False: 1.4}
# So long without an end of any event, and what is still pending is stuck.
_AT_MOST = 90.0
_OLD = "SELECT event_id FROM shipper_outbox WHERE status = 'pending'"


class Outcry:
    """Everything around the lives of one campaign: an outbox, a receiver, applications."""

    def __init__(self, url: str, directory: Path, *, books: Books | None = None) -> None:
        self.shop = Shop(url, directory)
        self.books = books or Books()
        self.shop.sandbox.ledger = self.books
        self._directory = directory
        self._writers: list[asyncio.subprocess.Process] = []
        self._outputs: list[Path] = []

    async def open(self) -> None:
        """Start the receiver, and make the applications' own table."""
        await self.shop.open()
        self.configure()
        self.shop.execute("CREATE TABLE shop_customer (name TEXT PRIMARY KEY, events INTEGER)")
        names = [f"w{writer}u{user}" for writer in range(WRITERS) for user in range(USERS)]
        values = ", ".join(f"('{name}', 0)" for name in names)
        self.shop.execute(f"INSERT INTO shop_customer VALUES {values}")

    def configure(self) -> None:
        """Write the configuration of the daemon."""
        self.shop.configure(timeout=TIMEOUT, max_in_flight=MAX_IN_FLIGHT)

    async def start_writers(
        self, *options: str, rate: float = RATE, environ: Mapping[str, str] | None = None
    ) -> None:
        """Let the applications write."""
        for number in range(WRITERS):
            output = self._directory / f"writer-{len(self._outputs):04}.out"
            self._outputs.append(output)
            url = self.shop.url
            with output.open("wb") as out:
                writer = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.campaigns.writer"),
                    *(url, str(number), str(USERS), str(rate / WRITERS), *options),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=out,
                    cwd=ROOT,
                    env={**os.environ, **(environ or {})},
                )
            self._writers.append(writer)

    def writing(self) -> list[int]:
        """Return the process ids of the applications."""
        return [writer.pid for writer in self._writers]

    def move_to(self, url: str) -> None:
        """Go on with another database."""
        self.shop.move_to(url)
        self.configure()

    async def stop_writers(self) -> None:
        """Let every application finish its transaction, and end."""
        for writer in self._writers:
            assert writer.stdin is not None
            writer.stdin.close()
            assert await writer.wait() == 0
        self._writers = []

    async def kill_writers(self) -> None:
        """End every application at once, in the middle of whatever it does."""
        for writer in self._writers:
            if writer.returncode is None:
                writer.kill()
            await writer.wait()
        self._writers = []

    def committed(self) -> set[str]:
        """Return what the applications were told is committed; complete once they have ended."""
        return {name for output in self._outputs for name in output.read_text("ascii").split()}

    def pending(self) -> list[str]:
        """Return the events that are recorded neither as delivered nor as dead."""
        return [name(row) for row in self.shop.rows(_OLD)]

    async def deaf(self) -> None:
        """Wait until the receiver has read whatever a dead process had sent."""
        await until(lambda: not _connections(self.shop.port))

    async def finish(self, launcher: Launcher, figures: Figures) -> None:
        """Let a daemon ship the rest with nothing in its way, stop it, and judge the whole."""
        self.shop.sandbox.chaos = Chaos()
        daemon = await launcher.start("run", "-c", str(self.shop.config))
        await daemon.told("daemon.started")
        await self.settle(daemon, figures)
        daemon.signal(signal.SIGTERM)
        figures.expect(await daemon.ended() == 0, daemon.stderr[-2000:])
        self.judge(figures, launcher)

    async def settle(self, daemon: Life, figures: Figures) -> None:
        """Wait until nothing is pending any more; that it comes no nearer to it is a fault."""
        left = len(self.pending())
        while left and daemon.is_alive:
            try:
                await until(partial(self._is_nearer, left, daemon), _AT_MOST)
            except TimeoutError:
                link = self.shop.rows("SELECT * FROM shipper_destination")
                figures.fault(f"{left} events stay pending, {link}: {daemon.stderr[-2000:]}")
                return
            left = len(self.pending())

    def _is_nearer(self, left: int, daemon: Life) -> bool:
        return len(self.pending()) < left or not daemon.is_alive

    async def close(self) -> None:
        """End everything."""
        await self.kill_writers()
        await self.shop.close()

    def judge(self, figures: Figures, launcher: Launcher) -> None:
        """Judge the whole, once nothing is pending any more, and what its processes have printed."""
        figures.fault(*said(launcher.texts(), [API_ID]))
        summary, rows = self.books.summary(), self.shop.rows(ROWS)
        figures.fault(*violations(rows, self.books.requests, self.committed()))
        for row in rows:
            received = row.event_id in self.books.taken
            unheard = row.status == "delivered" and not received
            figures.expect(not unheard, f"{row.event_id} is delivered and was never received")
        figures.expect(summary.flawless, f"the receiver saw {summary}")
        figures.fault(*self.books.unexpected)
        figures.tried["events"] += len(rows)
        figures.tried["repeats"] += summary.repeats


def _connections(port: int) -> int:
    """Return how many connections the server on a port of the loopback has not closed yet."""
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    open_ = {"01", "08"}  # ESTABLISHED, CLOSE_WAIT
    return sum(f[1].endswith(f":{port:04X}") and f[3] in open_ for f in fields)


@asynccontextmanager
async def outcry(url: str, directory: Path, books: Books | None = None) -> AsyncIterator[Outcry]:
    """Give a campaign's surroundings, and end them."""
    one = Outcry(url, directory, books=books)
    try:
        await one.open()
        yield one
    finally:
        await one.close()


async def crashes(
    url: str, directory: Path, *, kills: int, stops: int, seed: int, warm: bool = True
) -> Figures:
    """Kill and stop a daemon so many times; `warm` spares the start of Python."""
    database = url.partition(":")[0].partition("+")[0]
    figures, chance = Figures(f"kill -9 and SIGSTOP, {database}", seed), random.Random(seed)
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(outcry(url, directory))
        launcher = await stack.enter_async_context(Launcher(directory, warm=warm))
        scene.shop.sandbox.chaos = Chaos.parse(CHAOS)
        await scene.start_writers()
        assassin = _Assassin(scene, launcher, figures, chance, LONGEST_LIFE[warm])
        for number in range(kills):
            await assassin.kill_one()
            # Spread evenly between the kills.
            if (number + 1) * stops // kills > number * stops // kills:
                await assassin.stop_one(long=chance.random() < 1 / 5)
        for _ in range(stops if not kills else 0):
            await assassin.stop_one(long=chance.random() < 1 / 5)
        await scene.stop_writers()
        await scene.finish(launcher, figures)
        verify = await launcher.start("verify", "-c", str(scene.shop.config))
        figures.expect(await verify.ended() == 0, verify.stdout)
    return figures


class _Assassin:
    """Ends the lives of daemons, and looks at what they leave."""

    def __init__(
        self,
        scene: Outcry,
        launcher: Launcher,
        figures: Figures,
        chance: random.Random,
        longest: float,
    ) -> None:
        self._scene = scene
        self._launcher = launcher
        self._figures = figures
        self._chance = chance
        self._longest = longest
        self._died_at: float | None = None
        self._began_at = 0.0
        self._again = 0

    async def live(self) -> Life:
        """Start a daemon."""
        self._began_at = _now()
        return await self._launcher.start("run", "-c", str(self._scene.shop.config))

    async def kill_one(self) -> None:
        """Let a daemon live for a random time, kill it, and look."""
        life = await self.live()
        lot = self._chance.random()
        if lot < 1 / 2:
            # On a slow machine the rest would hit nothing but starts.
            await life.told("daemon.started")
        if lot < 1 / 4:
            # Else who is slow would be cut off before it could be measured.
            await until(lambda: self._scene.books.first_after(self._began_at) is not None)
        try:
            await life.ended(self._chance.uniform(0.0, self._longest))
        except TimeoutError:
            os.kill(life.pid, signal.SIGKILL)
            await life.ended()
            self._figures.tried["kills"] += 1
        else:
            self._figures.fault(f"a daemon ended by itself: {life.stderr[-500:]}")
        self._measure()
        self._died_at = _now()
        self._blame(life)
        await self._scene.deaf()
        self._count("kill", self._scene.books.forgive(self._scene.pending()))

    async def stop_one(self, *, long: bool) -> None:
        """Stop a daemon in the middle of its work, for longer than a try may take or not; go on."""
        life = await self.live()
        await life.told("daemon.started")
        await life.lives_for(self._chance.uniform(0.05, self._longest))
        life.signal(signal.SIGSTOP)
        # What is stopped can't tell anything: only its length says what kind of stop it was.
        await asyncio.sleep(TIMEOUT + 0.5 if long else self._chance.uniform(0.2, 1.0))
        self._count("stop", self._scene.books.forgive(self._scene.pending()))
        life.signal(signal.SIGCONT)
        self._figures.tried["stops"] += 1
        self._measure()
        await life.lives_for(self._chance.uniform(0.05, self._longest))
        await self.stop(life)

    async def stop(self, life: Life) -> None:
        """Stop a daemon as one should."""
        life.signal(signal.SIGTERM)
        status = await life.ended()
        self._figures.expect(status == 0, f"a stop ended with {status}: {life.stderr[-500:]}")
        self._measure()
        self._died_at = None
        self._blame(life)

    def _count(self, what: str, again: set[str]) -> None:
        self._figures.measure(f"repeats per {what}", len(again))
        if len(again) > MAX_IN_FLIGHT:
            self._figures.fault(f"{len(again)} events may come again after a {what}")

    def _measure(self) -> None:
        """Measure how long it took from the last death to the first request, if one came."""
        if self._died_at is not None:
            first = self._scene.books.first_after(self._began_at)
            if first is not None:
                self._figures.measure("seconds from kill -9 to first send", first - self._died_at)
                self._died_at = None

    def _blame(self, life: Life) -> None:
        if "Traceback" in life.stderr:
            self._figures.fault(f"a traceback: {life.stderr[-2000:]}")


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)

"""The wall clock jumps, under a running daemon and between two: to anywhere from 1970 to 2100.

The daemon runs under `shim.c`, which adds to the time of day what the campaign wants; the clocks
that nobody can set stay as they are. At every jump there is an event that has just failed and has
a time to try again on disk. It has to be delivered all the same, by the daemon that was there, and
after another jump by the next one; in order, and nothing twice.
"""

import random
import signal
import struct
import time
from contextlib import AsyncExitStack
from pathlib import Path

from shipper.clock import parse_iso
from shipper.sandbox import RequestInfo, SandboxAnswer
from tests.campaigns.crashes import Outcry, outcry
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher, Life
from tests.campaigns.shim import preloaded
from tests.daemon.processes import until

_HOUR, _DAY, _YEAR = 3600.0, 86400.0, 365.25 * 86400.0
JUMPS = (
    0.001, -0.001, 0.5, -0.5, 1.0, -1.0, 59.0, -61.0, 5 * 60.0, -5 * 60.0, _HOUR, -_HOUR,
    2 * _HOUR + 1, -2 * _HOUR - 1, _DAY, -_DAY, 7 * _DAY, -7 * _DAY, 30 * _DAY, -30 * _DAY,
    _YEAR, -_YEAR, 12 * _YEAR, -50 * _YEAR, 70 * _YEAR,
)  # fmt: skip


class Watch:
    """The time of day, as a shimmed process has it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """Be so many seconds ahead of the machine's."""
        content = struct.pack("q", int(seconds * 1e9))
        if self.file.exists():
            with self.file.open("r+b") as file:
                file.write(content)
        else:
            self.file.write_bytes(content)


class Jumper:
    """Lets an event fail, jumps, and waits for it."""

    def __init__(self, scene: Outcry, watch: Watch) -> None:
        self._shop = scene.shop
        self._watch = watch
        self._number = 0
        self._failed: set[str] = set()
        self._may_pass = False
        self._shop.sandbox.answer_for = self._answer

    def _answer(self, request: RequestInfo) -> SandboxAnswer | None:
        if self._may_pass:
            return None
        self._failed.add(str(request.key))
        return SandboxAnswer(503)

    async def jump(self, seconds: float, daemon: Life) -> None:
        """Jump while an event waits; seconds are those from the machine's own time."""
        self._number += 1
        events = [f"u{user}-{self._number}" for user in range(3)]
        self._may_pass = False
        self._shop.add(*events)
        await until(lambda: self._failed & set(events) or not daemon.is_alive)
        self._watch.set(seconds)
        self._may_pass = True
        await self._shop.settled()


async def clock_jumps(url: str, directory: Path, *, times: int, seed: int) -> Figures:
    """Go through all the jumps so many times, in another order each time."""
    figures, chance = Figures("wall-clock jumps", seed), random.Random(seed)
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(outcry(url, directory))
        watch = Watch(directory / "watch")
        orders = f"clock={watch.file}"
        launcher = await stack.enter_async_context(Launcher(directory, environ=preloaded()))
        jumper = Jumper(scene, watch)
        jumps = [jump for _ in range(times) for jump in chance.sample(JUMPS, len(JUMPS))]
        # The next daemon begins at the time to which the one before has jumped last.
        for pair in zip(jumps[::2], [*jumps[1::2], 0.0], strict=False):
            daemon = await launcher.start("run", "-c", str(scene.shop.config), shim=orders)
            await daemon.told("daemon.started")
            for seconds in pair:
                await jumper.jump(seconds, daemon)
                figures.tried["jumps"] += 1
            daemon.signal(signal.SIGTERM)
            figures.expect(await daemon.ended() == 0, f"{pair}: {daemon.stderr[-500:]}")
            figures.expect("Traceback" not in daemon.stderr, daemon.stderr[-2000:])
            ended_at = parse_iso(daemon.lines[-1]["timestamp"]) - pair[-1]
            figures.expect(abs(ended_at - time.time()) < 300, "the clock didn't jump")
        figures.expect(not scene.shop.wasted(), "events were charged for it")
        scene.judge(figures, launcher)
    return figures

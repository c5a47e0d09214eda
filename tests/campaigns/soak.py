"""A soak: hours of writing, faults, reloads and purging under one daemon, and what it then uses.

Every second its memory, open files, threads and the outbox's write-ahead log are measured. What a
daemon needs it needs after a while; from then on nothing may grow.
"""

import os
import random
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

from shipper.sandbox import Chaos
from tests.campaigns.books import Books
from tests.campaigns.crashes import MAX_IN_FLIGHT, Outcry, outcry
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher, Life
from tests.daemon.processes import until

CHAOS = (
    "slow:20ms:0.1,503:0.01,500:0.01,drop:0.005,lost:0.005,reset:0.005,truncate:0.005,"
    "garbage:0.005,html:0.001,401:0.0005,429:0.001:0s,422:0.001,outage:2s@5s/60s"
)
# Megabytes.
_WAL_MOST = 64
_GROWTH_LEAST = 24
_GROWTH_SHARE = 0.15
_FILES_MORE = 8
_WARM_UP = 0.25


async def soak(url: str, directory: Path, *, seconds: float, rate: float, seed: int) -> Figures:
    """Let a daemon work for so long while applications write `rate` events a second."""
    figures, chance = Figures(f"soak of {seconds:.0f} s", seed), random.Random(seed)
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(outcry(url, directory, Books(keeps=False)))
        launcher = await stack.enter_async_context(Launcher(directory, warm=False))
        _configure(scene)
        scene.shop.sandbox.chaos = Chaos.parse(CHAOS)
        daemon = await launcher.start("run", "-c", str(scene.shop.config))
        await scene.start_writers(rate=rate)
        # What it needs to start is no growth.
        await until(lambda: scene.books.moments or not daemon.is_alive)
        await _watch(scene, daemon, figures, seconds, chance)
        await scene.stop_writers()
        scene.shop.sandbox.chaos = Chaos()
        await scene.settle(daemon, figures)
        daemon.signal(signal.SIGTERM)
        figures.expect(await daemon.ended() == 0, daemon.stderr[-500:])
        figures.expect("Traceback" not in daemon.stderr, daemon.stderr[-2000:])
        verify = await launcher.start("verify", "-c", str(scene.shop.config))
        figures.expect(await verify.ended() == 0, verify.stdout)
        _judge(scene, figures)
    _judge_growth(figures)
    return figures


def _configure(scene: Outcry) -> None:
    scene.shop.configure(
        timeout=5.0,
        max_in_flight=MAX_IN_FLIGHT,
        log_level="warning",
        more='[retention]\ndelivered = "10s"',
    )


async def _watch(
    scene: Outcry, daemon: Life, figures: Figures, seconds: float, chance: random.Random
) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        await daemon.lives_for(min(1.0, left))
        if not daemon.is_alive:
            figures.fault(f"it ended: {daemon.stderr[-2000:]}")
            return
        for what, value in _used(daemon.pid, scene).items():
            figures.measure(what, value)
        if chance.random() < 1 / 60:
            daemon.signal(signal.SIGHUP)
            figures.tried["reloads"] += 1


def _used(pid: int, scene: Outcry) -> dict[str, float]:
    status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    used = {
        "megabytes of memory": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": float(fields["Threads"]),
        "open files": float(len(os.listdir(f"/proc/{pid}/fd"))),  # noqa: PTH208 - no paths wanted
        "pending": float(len(scene.pending())),
    }
    if scene.shop.is_sqlite:
        file = Path(scene.shop.url.removeprefix("sqlite:///"))
        wal = file.with_name(file.name + "-wal")
        used["megabytes of WAL"] = wal.stat().st_size / 2**20 if wal.exists() else 0.0
    return used


def _judge(scene: Outcry, figures: Figures) -> None:
    committed, summary = scene.committed(), scene.books.summary()
    ended = scene.books.taken.keys() | set(scene.shop.dead())
    lost = committed - ended
    figures.expect(not lost, f"{len(lost)} events were never received: {sorted(lost)[:5]}")
    phantoms = scene.books.taken.keys() - committed
    figures.expect(not phantoms, f"{len(phantoms)} phantoms: {sorted(phantoms)[:5]}")
    figures.expect(summary.flawless, f"the receiver saw {summary}")
    figures.fault(*scene.books.unexpected)
    figures.tried["events"] += len(committed)
    figures.tried["repeats"] += summary.repeats


def _judge_growth(figures: Figures) -> None:
    """Compare what was used in the end with what was used after the first quarter."""
    for what, least, share in (
        ("megabytes of memory", _GROWTH_LEAST, _GROWTH_SHARE),
        ("open files", _FILES_MORE, 0.0),
        ("threads", 1, 0.0),
    ):
        values = figures.samples.get(what, [])
        warm = max(values[: int(len(values) * _WARM_UP) + 1], default=0.0)
        last = max(values[-int(len(values) * _WARM_UP) - 1 :], default=0.0)
        figures.measure(f"growth of {what}", last - warm)
        figures.expect(last <= warm + max(least, warm * share), f"{what}: from {warm} to {last}")
    wal = max(figures.samples.get("megabytes of WAL", [0.0]))
    figures.expect(wal <= _WAL_MOST, f"{wal:.0f} MB of WAL")

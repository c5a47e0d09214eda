"""A disk that is full, and has space again: a small tmpfs with ballast. Root only.

The application fills the disk with events until its own INSERT is refused. The daemon, whose marks
don't fit either, sends nothing that it couldn't claim, repeats nothing that it has an answer to,
and ships everything once the ballast is gone, by itself.
"""

import asyncio
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipper.store.db.sqlite.opening import connect_sqlite
from tests import needs
from tests.campaigns.aftermath import inspect
from tests.campaigns.crashes import outcry
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher
from tests.conftest import _migrate
from tests.daemon.application import payload
from tests.daemon.processes import until

# Of four megabytes; what is in the WAL must find room in the file itself once more.
_BALLAST = 5 << 19


@contextmanager
def small_disk(where: Path, megabytes: int = 4) -> Iterator[Path]:
    """Give a small file system; skips the test where that isn't allowed."""
    mount = where / "small"
    mount.mkdir(exist_ok=True)
    needs.root()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(mount)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        needs.missing("may not mount a tmpfs")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


async def full_disk(where: Path, *, times: int, seed: int) -> Figures:
    """Fill a disk and free it so many times, each a small one of its own."""
    figures, chance = Figures("disk full, and freed again", seed), random.Random(seed)
    async with Launcher(where) as launcher:
        for _ in range(times):
            with small_disk(where) as disk:
                await _fill_and_free(disk, where, launcher, figures, chance.randrange(100, 3000))
            figures.tried["times full"] += 1
    return figures


async def _fill_and_free(
    disk: Path, where: Path, launcher: Launcher, figures: Figures, size: int
) -> None:
    url = f"sqlite:///{disk / 'shop.db'}"
    _migrate(url, create=True)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(_BALLAST))
    async with outcry(url, where) as scene:
        daemon = await launcher.start("run", "-c", str(scene.shop.config))
        await daemon.told("daemon.started")
        names = await asyncio.to_thread(fill, disk / "shop.db", size)
        await until(lambda: daemon.said("store.lost") or not scene.pending())
        figures.tried["times that the daemon couldn't write"] += bool(daemon.said("store.lost"))
        ballast.unlink()
        await scene.settle(daemon, figures)
        daemon.signal(signal.SIGTERM)
        figures.expect(await daemon.ended() == 0, daemon.stderr[-500:])
        scene.judge(figures, launcher)
        missing = names - scene.books.taken.keys()
        figures.expect(not missing, f"{len(missing)} events of {len(names)} were never received")
        figures.expect(not scene.books.summary().repeats, "events were repeated without a crash")
        faults = inspect(url, figures, told=names, received=scene.books.taken, durable=True)
        figures.fault(*faults)


def fill(file: Path, size: int) -> set[str]:
    """Write events, a transaction each, until the disk is full; return which were committed."""
    # Through the library that the rest of this process uses: two undo each other's locks.
    connection = connect_sqlite(file, busy_timeout=60)
    names: set[str] = set()
    statement = "INSERT INTO shipper_outbox (payload, event_id) VALUES (?, ?)"
    try:
        while True:
            name = f"u{len(names) % 7}-{len(names):05}"
            event = json.loads(payload(name.partition("-")[0], len(names)))
            event["view"]["text"] = "x" * size
            connection.execute(statement, (json.dumps(event), name))
            names.add(name)
    except Exception as error:
        if getattr(error, "sqlite_errorname", None) != "SQLITE_FULL":
            raise
    finally:
        connection.close()
    return names

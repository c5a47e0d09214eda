"""Power cuts of the kernel's own: ext4 on a loop device, shut down under live processes. Root only.

All processes are stopped first, because the shutdown itself is no moment of a real cut: a sync
that is under way would end as if it had been done. Then the file system is shut down without
writing its journal, mounted anew, and looked at as after a start of the machine.
"""

import asyncio
import fcntl
import os
import random
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path

from shipper.sandbox import Chaos
from tests import needs
from tests.campaigns.aftermath import inspect
from tests.campaigns.crashes import Outcry, outcry
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher
from tests.conftest import _migrate
from tests.daemon.processes import until

# linux/fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN, and EXT4_GOING_FLAGS_NOLOGFLUSH.
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_MEGABYTES = 64


class Volume:
    """A file system in a file."""

    def __init__(self, image: Path, mount: Path) -> None:
        self._image = image
        self.mount = mount
        self._on = False
        self._known = Path()

    def make(self) -> None:
        """Make it, and mount it; skips the test where that is not allowed."""
        with self._image.open("wb") as image:
            image.truncate(_MEGABYTES << 20)
        self.mount.mkdir()
        _run(needs.program("mkfs.ext4", "e2fsprogs"), "-q", "-F", str(self._image))
        try:
            self.on()
        except subprocess.CalledProcessError:
            needs.missing("may not mount a loop device")

    def on(self) -> None:
        """Mount it."""
        _run("mount", "-o", "loop,commit=5", str(self._image), str(self.mount))
        self._on = True
        device = self.mount.stat().st_dev
        disk = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        self._known = Path("/sys/fs/ext4") / disk

    def is_gone(self) -> bool:
        """Return whether the kernel has let go of it.

        While a process has mounts of its own, which it has copied from ours, the file system that
        was shut down lives on in them, and would be mounted again as it is.
        """
        return not self._known.exists()

    def cut(self) -> None:
        """Cut its power."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def off(self) -> None:
        """Unmount it."""
        if self._on:
            _run("umount", str(self.mount))
            self._on = False


@contextmanager
def volume(where: Path) -> Iterator[Volume]:
    """Give a mounted file system; for root alone."""
    needs.root()
    one = Volume(where / "image", where / "mount")
    one.make()
    try:
        yield one
    finally:
        one.off()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


async def shutdowns(where: Path, *, cuts: int, seed: int) -> Figures:
    """Cut the power of a real file system so many times."""
    figures, chance = Figures("power cuts of a real ext4", seed), random.Random(seed)
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(volume(where))
        url = f"sqlite:///{disk.mount / 'shop.db'}"
        _migrate(url, create=True)
        scene = await stack.enter_async_context(outcry(url, where))
        launcher = await stack.enter_async_context(Launcher(where))
        scene.shop.sandbox.chaos = Chaos.parse("slow:20ms:0.3,lost:0.01,422:0.002")
        _run("sync", "-f", str(disk.mount))
        for number in range(cuts):
            since = len(scene.books.moments)
            await _cut(scene, launcher, disk, chance)
            told, received = scene.committed(), scene.books.taken
            for fault in inspect(
                url, figures, told=told, received=received, durable=True, since=since
            ):
                figures.fault(f"cut {number}: {fault}")
            scene.books.forgive(scene.pending())
            figures.tried["power cuts"] += 1
        await scene.finish(launcher, figures)
    return figures


async def _cut(scene: Outcry, launcher: Launcher, disk: Volume, chance: random.Random) -> None:
    daemon = await launcher.start("run", "-c", str(scene.shop.config))
    await scene.start_writers("--checkpoint", "40")
    await asyncio.sleep(chance.uniform(0.2, 0.7))
    for pid in (daemon.pid, *scene.writing()):
        os.kill(pid, signal.SIGSTOP)
        await until(partial(_is_still, pid))
    disk.cut()
    daemon.kill()
    await daemon.ended()
    await scene.kill_writers()
    await scene.deaf()
    scene.move_to(scene.shop.url)  # lets go of the file
    disk.off()
    await until(disk.is_gone)
    disk.on()


def _is_still(pid: int) -> bool:
    """Return whether no thread of a process runs any more, not even in the kernel."""
    states = [
        task.joinpath("stat").read_text("utf-8").rpartition(")")[2].split()[0]
        for task in Path(f"/proc/{pid}/task").iterdir()
    ]
    return set(states) == {"T"}

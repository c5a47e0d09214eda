"""The wall clock is set under a real daemon that has lived for a while: by hours, days, years.

The daemon runs under the campaigns' `shim.c`, which adds to the time of day what a test wants; the
clocks that nobody can set stay as they are.
"""

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from shipper.clock import parse_iso
from tests.campaigns.clocks import Watch
from tests.campaigns.lives import Launcher, Life
from tests.campaigns.shim import preloaded
from tests.daemon.harness import Shop, only_postgres, only_sqlite, several
from tests.daemon.processes import until

DAY = 86400.0
YEAR = 365.25 * DAY
STEPS = [30 * DAY, YEAR, 10 * YEAR, -3600.0, -30 * DAY, -10 * YEAR]
# A scheduler that lists what it has missed has begun to by then.
LIVED = 3.0
# What a daemon needs that does as it did before; listing a month's seconds needs far more.
_CPU_SECONDS, _MEMORY_KB = 2.0, 40_000


@asynccontextmanager
async def living(shop: Shop, watch: Watch) -> AsyncIterator[Life]:
    """Give a daemon whose time of day is the watch's, and that has lived for three seconds."""
    async with Launcher(shop.directory, environ=preloaded()) as launcher:
        daemon = await launcher.start("run", "-c", str(shop.config), shim=f"clock={watch.file}")
        await daemon.told("daemon.started")
        await daemon.lives_for(LIVED)
        yield daemon
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0, daemon.stderr[-2000:]
        assert daemon.said("chore.failed") == []
        assert "Traceback" not in daemon.stderr


def has_said(daemon: Life, event: str, times: int) -> bool:
    """Return whether a daemon has logged something so many times."""
    return len(daemon.said(event)) == times


def cpu(daemon: Life) -> float:
    """Return the processor time that a process has had, in seconds."""
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def most_memory(daemon: Life) -> int:
    """Return the most memory that it has ever had, in kB."""
    [line] = [
        line
        for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1])


@only_sqlite
@pytest.mark.parametrize(
    ("step", "poll"), [*((step, "100ms") for step in STEPS), (10 * YEAR, "1s"), (10 * YEAR, "10ms")]
)
async def test_a_step_costs_neither_time_nor_memory_nor_rows(
    shop: Shop, step: float, poll: str
) -> None:
    """The next event is delivered as ever; what was delivered stays until its time has passed."""
    shop.configure(
        log_level="info",
        more=f'[schedule]\npoll_interval = "{poll}"\nwindows = ["* * * * *"]\n'
        '[retention]\ndelivered = "5s"\n',
    )
    watch = Watch(shop.directory / "watch")
    async with living(shop, watch) as daemon:
        shop.add(*several(2, 2))
        await shop.settled()
        before, memory = cpu(daemon), most_memory(daemon)
        watch.set(step)
        told = await daemon.told("clock.set")
        assert abs(told["seconds"] - step) < 1.0
        shop.add(*several(2, 1, first=3))
        await shop.settled()
        # Retention is rung every second.
        await daemon.lives_for(1.5)
        assert shop.counts() == {"delivered": 6}
        assert cpu(daemon) - before < _CPU_SECONDS
        assert most_memory(daemon) - memory < _MEMORY_KB
        # When their time has really passed they go, also those that are now of the future.
        await until(lambda: shop.counts() == {})
    assert shop.rows("SELECT sum(delivered) FROM shipper_minute")[0][0] == 6
    assert abs(parse_iso(daemon.lines[-1]["timestamp"]) - time.time() - step) < 60.0
    shop.assert_flawless()


@pytest.mark.parametrize("step", [30 * DAY, -30 * DAY])
async def test_a_reload_forgets_no_step(shop: Shop, step: float) -> None:
    """What a session knew of the clock, the next one knows."""
    shop.configure(more='[retention]\ndelivered = "1h"\n')
    watch = Watch(shop.directory / "watch")
    async with living(shop, watch) as daemon:
        shop.add(*several(2, 2))
        await shop.settled()
        watch.set(step)
        await daemon.told("clock.set")
        shop.add("u1-3")
        await shop.settled()
        shop.configure(more='[retention]\ndelivered = "1m"\n')
        daemon.signal(signal.SIGHUP)
        await daemon.told("config.reloaded")
        # It is rung every six seconds now.
        await daemon.lives_for(7.0)
        assert shop.counts() == {"delivered": 5}


async def test_a_restart_forgets_no_step(shop: Shop) -> None:
    """Nor does it believe what was stamped since: it goes on where the last one was."""
    shop.configure(more='[retention]\ndelivered = "1m"\n')
    watch = Watch(shop.directory / "watch")
    shop.add(*several(2, 2))
    async with living(shop, watch) as daemon:
        await shop.settled()
        watch.set(30 * DAY)
        await daemon.told("clock.set")
        shop.add("u1-3")
        await shop.settled()
    async with living(shop, watch) as daemon:
        await daemon.lives_for(4.0)
        assert shop.counts() == {"delivered": 5}
    watch.set(0.0)
    status = await shop.command("verify")
    assert await status.ended() == 0, status.stdout + status.stderr


@pytest.mark.parametrize(
    ("steps", "old"), [([30 * DAY], 4), ([-30 * DAY, 0.0], 4)], ids=["ahead", "behind for a while"]
)
async def test_who_prunes_by_hand_deletes_nothing_for_a_step(
    shop: Shop, tmp_path: Path, steps: list[float], old: int
) -> None:
    """A cron job, say: it goes by what the daemon has noted, unless it is told to trust the clock.

    What was delivered before a step ahead, or while the clock was behind, looks old. On a server,
    the latter doesn't: the server knows when it was written.
    """
    if steps[0] < 0.0 and not shop.is_sqlite:
        old = 0
    shop.configure(more='[retention]\ndelivered = "1h"\n')
    watch = Watch(shop.directory / "watch")
    async with living(shop, watch), Launcher(tmp_path, environ=preloaded()) as hand:

        async def pruned(*more: str) -> Life:
            orders = f"clock={watch.file}"
            done = await hand.start("prune", *more, "-c", str(shop.config), shim=orders)
            assert await done.ended() == 0, done.stderr
            return done

        for number, step in enumerate(steps):
            shop.add(*several(2, 2, first=2 * number + 1))
            await shop.settled()
            before = noted(shop)
            watch.set(step)
            await until(lambda before=before: noted(shop) != before)  # type: ignore[misc]
        assert "this machine's clock was set" in (await pruned()).stderr
        assert shop.counts() == {"delivered": 4 * len(steps)}
        assert "was set" not in (await pruned("--trust-clock")).stderr
        assert sum(shop.counts().values()) == 4 * len(steps) - old


def noted(shop: Shop) -> object:
    """Return what the daemon has written down of the clocks."""
    return shop.rows("SELECT owner FROM shipper_lease WHERE name LIKE 'clock %'")


@only_postgres
async def test_who_prunes_where_the_clock_is_ahead_deletes_nothing_for_it(
    shop: Shop, tmp_path: Path
) -> None:
    """On a machine whose daemon has noted nothing: the server's clock says how late it is."""
    shop.configure(more='[retention]\ndelivered = "1d"\n')
    shop.add(*several(2, 2))
    daemon = await shop.started()
    await shop.settled()
    await daemon.stop()
    watch = Watch(shop.directory / "watch")
    watch.set(30 * DAY)
    async with Launcher(tmp_path, environ=preloaded()) as hand:
        for more, left in (((), {"delivered": 4}), (("--trust-clock",), {})):
            orders = f"clock={watch.file}"
            done = await hand.start("prune", *more, "-c", str(shop.config), shim=orders)
            assert await done.ended() == 0, done.stderr
            assert shop.counts() == left


async def test_a_daemon_that_starts_in_another_year_deletes_nothing_for_it(shop: Shop) -> None:
    """No clock of before is known; the outbox's newest time is."""
    shop.configure(more='[retention]\ndelivered = "1m"\n')
    watch = Watch(shop.directory / "watch")
    shop.add(*several(2, 2))
    async with living(shop, watch):
        await shop.settled()
    watch.set(10 * YEAR)
    async with living(shop, watch) as daemon:
        shop.add("u1-3")
        await shop.settled()
        await daemon.lives_for(4.0)
        assert shop.counts() == {"delivered": 5}


@only_sqlite
async def test_a_window_follows_the_wall_clock_at_once(shop: Shop) -> None:
    """To another month and back; what lies between isn't gone through."""
    month = datetime.now(UTC).month
    shop.configure(more=f'[schedule]\nwindows = ["* * * {month} *"]\n')
    watch = Watch(shop.directory / "watch")
    async with living(shop, watch) as daemon:
        shop.add("u1-1")
        await shop.settled()
        for number, step in enumerate((45 * DAY, -45 * DAY), 1):
            watch.set(step)
            await until(partial(has_said, daemon, "window.closed", number))
            shop.add(f"u2-{number}")
            watch.set(0.0)
            await until(partial(has_said, daemon, "window.opened", number))
            await shop.settled()
    shop.assert_flawless()

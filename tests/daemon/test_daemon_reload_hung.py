"""A reload that leads to a database which says nothing: nobody waits for it, at a stop least."""

import asyncio
import io
import signal
import socket
import threading
from dataclasses import replace

import pytest

from shipper.clock import SystemClock
from shipper.config import load
from shipper.daemon.acquisition import Taking
from shipper.daemon.database_thread import DatabaseThread
from shipper.daemon.reload import answered, identified
from shipper.daemon.requests import Stop, unless_over
from shipper.daemon.session import open_session
from shipper.errors import StoreUnavailable
from shipper.logs import open_log
from tests.daemon.harness import Shop, only_sqlite
from tests.daemon.processes import PATIENCE
from tests.daemon.silent import silent
from tests.daemon.test_daemon_reload import rejected, reload

# Much less than a server is waited for.
AT_ONCE = 5.0


@only_sqlite
async def test_a_stop_ends_a_reload_whose_server_says_nothing(shop: Shop) -> None:
    """The process, too, and at once; the outbox is free for the next one."""
    daemon = await shop.started()
    async with silent() as server:
        reload(daemon, shop, server.url)
        await asyncio.wait_for(server.asked.wait(), PATIENCE)
        shop.add("u1-1")
        await shop.settled()
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended(AT_ONCE) == 0
    assert daemon.said("daemon.stopped")
    shop.move_to(f"sqlite:///{shop.directory / 'shop.db'}")
    await (await shop.started()).stop()


@only_sqlite
async def test_a_stop_ends_a_reload_whose_server_only_takes_the_connection(shop: Shop) -> None:
    """A socket that listens, and nothing behind it."""
    daemon = await shop.started()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        reload(daemon, shop, f"postgresql://shipper@127.0.0.1:{port}/shop")
        asked, _ = await asyncio.get_running_loop().sock_accept(listening)
        with asked:
            daemon.signal(signal.SIGTERM)
            assert await daemon.ended(AT_ONCE / 2) == 0


@only_sqlite
async def test_a_reload_is_taken_after_one_whose_server_only_takes_the_connection(
    shop: Shop,
) -> None:
    """The first is refused with the reason, and the daemon hears the next."""
    daemon, url = await shop.started(), shop.url
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        reload(daemon, shop, f"postgresql://shipper@127.0.0.1:{port}/shop")
        await rejected(daemon, 1)
    reload(daemon, shop, url)
    await daemon.told("config.reloaded")
    await daemon.stop()


@only_sqlite
async def test_a_server_that_says_nothing_is_asked_for_so_long_and_no_longer(shop: Shop) -> None:
    """And whoever asked is told so, and what to look at."""
    settings = load(shop.config, {})
    async with silent() as server:
        hung = replace(settings, database=replace(settings.database, url=server.url))
        with pytest.raises(StoreUnavailable, match=r"does not answer within 0\.3 s") as raised:
            await identified(hung, within=0.3)
        assert "[database] url" in str(raised.value.hint)


@only_sqlite
async def test_a_session_that_a_reload_opens_is_left_to_a_server_that_says_nothing(
    shop: Shop,
) -> None:
    """It says nothing from here on only; neither the question nor its thread is waited for."""
    settings, log = load(shop.config, {}), open_log("info", "json", io.StringIO())
    async with silent() as server:
        hung = replace(settings, database=replace(settings.database, url=server.url))
        session = open_session(hung, clock=SystemClock(), log=log, stop=Stop(), taking=Taking(0.0))
        with pytest.raises(StoreUnavailable, match="does not answer within"):
            async with answered(1.0), session:
                pass
        assert server.asked.is_set()


async def test_a_thread_that_nobody_is_patient_with_is_left_alone() -> None:
    """Who gives up neither waits for it nor for its end; it does the rest once it can."""
    thread, begun, go_on, done = (
        DatabaseThread(), threading.Event(), threading.Event(), threading.Event(),
    )  # fmt: skip
    thread.patient = False

    def hang() -> None:
        begun.set()
        go_on.wait()

    hanging = asyncio.create_task(thread.run(hang))
    await asyncio.to_thread(begun.wait)
    hanging.cancel()
    await asyncio.wait({hanging})
    with pytest.raises(StoreUnavailable):
        await thread.run(done.set)
    thread.close()  # a patient one's would wait here
    assert not done.is_set()
    go_on.set()
    assert await asyncio.to_thread(done.wait, AT_ONCE)


async def test_what_the_drain_outlives_is_done_and_nothing_else_is_waited_for() -> None:
    """What is asked comes back; it is cancelled where the drain ends before it."""
    ends = asyncio.Event()

    async def drain() -> int:
        await ends.wait()
        return 0

    async def answer() -> str:
        return "there"

    draining = asyncio.create_task(drain())
    assert await unless_over(answer(), draining) == "there"
    ends.set()
    assert await unless_over(asyncio.Event().wait(), draining) is None

"""A bad network between the daemon and the receiver, while applications write; then a good one.

Nothing may be lost, out of order or dead; what comes again comes at once, and no more of it than
connections were struck; and once the network is good again everything is delivered.
"""

import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from tests.campaigns.crashes import MAX_IN_FLIGHT, outcry
from tests.campaigns.figures import Figures
from tests.campaigns.lives import Launcher
from tests.campaigns.proxy import KINDS, Proxy
from tests.daemon.processes import until

_TIMEOUT = 0.7


async def bad_network(url: str, directory: Path, *, strikes: int, seed: int) -> Figures:
    """Strike so many connections, every kind of strike among them."""
    database = url.partition(":")[0].partition("+")[0]
    figures, chance = Figures(f"bad network, {database}", seed), random.Random(seed)
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(outcry(url, directory))
        launcher = await stack.enter_async_context(Launcher(directory))
        proxy = Proxy(scene.shop.port, chance)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        scene.shop.configure(
            url=scene.shop.sandbox.events_url.replace(str(scene.shop.port), str(proxy.port)),
            timeout=_TIMEOUT,
            max_in_flight=MAX_IN_FLIGHT,
        )
        proxy.probability = 1.0
        daemon = await launcher.start("run", "-c", str(scene.shop.config))
        await scene.start_writers()
        await until(lambda: proxy.struck.total() >= strikes, 60 + strikes)
        await scene.stop_writers()
        proxy.probability = 0.0
        await scene.settle(daemon, figures)
        daemon.signal(signal.SIGTERM)
        figures.expect(await daemon.ended() == 0, daemon.stderr[-500:])
        figures.tried.update(proxy.struck)
        figures.expect(set(proxy.struck) >= set(KINDS) or strikes < 100, "a kind is missing")
        repeats = scene.books.summary().repeats
        hidden = proxy.may_have_hidden
        figures.expect(repeats <= hidden, f"{repeats} repeats, {hidden} answers can be lost")
        figures.expect(not scene.shop.dead(), f"dead: {scene.shop.dead()}")
        # The receiver doesn't know which of its answers arrived.
        scene.books.unexpected.clear()
        scene.judge(figures, launcher)
    return figures

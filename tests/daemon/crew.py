"""Several daemons of one outbox on PostgreSQL, each with a name and a configuration of its own."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

from shipper.errors import StoreUnavailable
from shipper.policy.shares import SHARDS
from shipper.sandbox.ledger import Ledger, Visit
from tests.daemon.harness import Shop, name
from tests.daemon.processes import Daemon, until
from tests.laps import laps

_SHARES = (
    "SELECT d.name, d.owner, count(s.shard) AS shards FROM shipper_daemon AS d"
    " LEFT JOIN shipper_shard AS s USING (token) GROUP BY d.token ORDER BY d.token"
)
_KEYS = (
    "SELECT o.event_id FROM shipper_outbox AS o JOIN shipper_shard AS s ON s.shard = o.slot & 63"
    " JOIN shipper_daemon AS d USING (token) WHERE d.name = :name ORDER BY o.id"
)


class Crowd(Ledger):
    """A ledger that knows the most requests that were open at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self.most = 0

    def begin(
        self,
        key: str | None,
        user: str | None,
        payload: bytes,
        now: float,
        is_open: Callable[[], bool],
    ) -> Visit:
        """Note a request."""
        self.open += 1
        self.most = max(self.most, self.open)
        return super().begin(key, user, payload, now, is_open)

    def end(self, visit: Visit, now: float) -> None:
        """Note its end."""
        self.open -= 1
        super().end(visit, now)


class Crew:
    """The daemons of a shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    def write(self, who: str, *, more: str = "", **settings: Any) -> None:
        """Write the configuration of the daemon with this name."""
        named = f'[daemon]\nname = "{who}"\n{more}'
        self.shop.configure(file=self.shop.directory / f"{who}.toml", more=named, **settings)

    def start(self, who: str, **settings: Any) -> Daemon:
        """Start the daemon with this name."""
        self.write(who, **settings)
        return self.shop.start(config=self.shop.directory / f"{who}.toml")

    async def join(self, who: str, **settings: Any) -> Daemon:
        """Start the daemon with this name and wait until all daemons have their shares."""
        daemon = self.start(who, **settings)
        await daemon.told("daemon.started")
        await self.shared(daemon.pid)
        return daemon

    async def shared(self, pid: int) -> None:
        """Wait until every shard has a daemon, and no daemon has two more than this process."""
        await until(lambda: self._is_shared(pid))

    def _is_shared(self, pid: int) -> bool:
        rows = self.shop.rows(_SHARES)
        shares = [row.shards for row in rows]
        joined = pid in {json.loads(row.owner)["pid"] for row in rows}
        return joined and sum(shares) == SHARDS and max(shares) - min(shares) <= 1

    def shares(self) -> Counter[str]:
        """Return how many shards each daemon has."""
        return Counter({row.name: row.shards for row in self.shop.rows(_SHARES)})

    def events_of(self, who: str) -> list[str]:
        """Return the events, of any status, that lie in the shards of a daemon."""
        return [name(row) for row in self.shop.rows(_KEYS, name=who)]

    async def freeze(self, daemon: Daemon, who: str) -> None:
        """Stop a daemon while it isn't in the middle of a turn, whose locks it would keep."""
        async with asyncio.timeout(30):
            while True:
                daemon.signal(signal.SIGSTOP)
                try:
                    self.shop.execute(
                        "SELECT 1 FROM shipper_lease, shipper_daemon AS d WHERE d.name = :who"
                        " FOR UPDATE NOWAIT",
                        who=who,
                    )
                except StoreUnavailable:
                    daemon.signal(signal.SIGCONT)
                    await laps(1)
                else:
                    return

    def end_lease(self, who: str) -> None:
        """Let the lease of a daemon that stands still be over for all others."""
        self.shop.execute("UPDATE shipper_daemon SET ttl = 0 WHERE name = :who", who=who)

    async def end(self, *daemons: Daemon) -> None:
        """Stop all cleanly; none has said anything that it shouldn't."""
        for daemon in daemons:
            await daemon.stop()
            assert "Traceback" not in daemon.stderr, daemon.stderr[-3000:]
        await self.shop.assert_verified()

"""This daemon's share of the outbox, and which of its shards it can give to another daemon now.

It decides when a shard is given back: when nothing of it is claimed, in flight or unrecorded, and
only so many that each destination has no more in flight than the shards that stay allow. It must
never give back a shard earlier: two daemons could send events of one key at the same time, or more
together than the destination allows.
"""

from collections.abc import Iterable

from shipper.drain.route import Route
from shipper.policy.shares import Shares, least_for


class Sharing:
    """The daemon's shares. Belongs to the event loop."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._passed: frozenset[int] = frozenset()

    def take(self, shares: Shares, routes: Iterable[Route], now: float) -> None:
        """Let all routes send only what the daemon keeps."""
        if shares.held != self.shares.held:
            self._passed = frozenset()
        self.shares = shares
        for route in routes:
            route.share(shares, now)

    def gives(self, routes: Iterable[Route]) -> frozenset[int]:
        """Return the shards that the exchange gives back that begins now.

        It writes the outcomes and releases the claims that the routes have until now before it
        gives anything back.
        """
        self._passed = self._done(routes)
        return self._passed

    def has_done(self, routes: Iterable[Route]) -> bool:
        """Return whether more shards can be given back than the last exchange has tried."""
        return not self._done(routes) <= self._passed

    def _done(self, routes: Iterable[Route]) -> frozenset[int]:
        if not self.shares.gives:
            return self.shares.gives
        open_shards: set[int] = set()
        stay = 0
        for route in routes:
            stay = max(stay, least_for(route.max_in_flight, route.in_flight))
            open_shards |= route.lanes.handover.open_shards()
        most = max(0, len(self.shares.held) - stay)
        return frozenset(sorted(self.shares.gives - open_shards)[:most])

"""Name lookups for new connections: one at a time for a name; the answer is kept for 30 seconds.

All connections that need a name share one lookup. When a connection fails, all answers are dropped.
It must never look up `localhost`: a DNS server may return another machine's address, and plain http
is allowed only to this machine (RFC 6761, 6.3).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

CACHE_SECONDS = 30.0

SocketAddress: TypeAlias = tuple[socket.AddressFamily, Any]
"""A family, and an address in the form of that family."""

_Lookup: TypeAlias = asyncio.Task[list[SocketAddress]]


def is_this_machine(name: str) -> bool:
    """Return whether a name stands for this machine by definition."""
    name = name.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def loopback(port: int) -> list[SocketAddress]:
    """Return the loopback addresses of this machine."""
    return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]


class CachingResolver:
    """The operating system's resolver, with one lookup at a time for a name."""

    def __init__(
        self,
        system: Callable[[str, int], Awaitable[list[SocketAddress]]] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._system = system or _ask_the_system
        self._clock = clock or asyncio.get_running_loop().time
        self._lookups: dict[tuple[str, int], tuple[_Lookup, float]] = {}

    async def resolve(self, host: str, port: int) -> list[SocketAddress]:
        """Return the addresses of a name; raises OSError as the system's resolver does."""
        lookup = self._lookup((host, port))
        # `wait` doesn't pass a cancellation on: the lookup goes on for the other requests.
        await asyncio.wait([lookup])
        if lookup.cancelled():
            raise OSError("the resolver was closed")
        return lookup.result()

    def forget(self) -> None:
        """Drop every answer; a lookup under way goes on, so that lookups don't pile up."""
        self._lookups = {key: kept for key, kept in self._lookups.items() if not kept[0].done()}

    async def close(self) -> None:
        """Cancel the lookups under way."""
        lookups = [lookup for lookup, _ in self._lookups.values()]
        for lookup in lookups:
            lookup.cancel()
        self._lookups.clear()
        await asyncio.gather(*lookups, return_exceptions=True)

    def _lookup(self, key: tuple[str, int]) -> _Lookup:
        now = self._clock()
        kept = self._lookups.get(key)
        if kept is not None:
            lookup, begun = kept
            if not lookup.done() or (_succeeded(lookup) and now - begun < CACHE_SECONDS):
                return lookup
        lookup = asyncio.create_task(self._ask(*key))
        lookup.add_done_callback(_succeeded)
        self._lookups[key] = lookup, now
        return lookup

    async def _ask(self, host: str, port: int) -> list[SocketAddress]:
        return loopback(port) if is_this_machine(host) else await self._system(host, port)


async def _ask_the_system(host: str, port: int) -> list[SocketAddress]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, place) for family, _, _, _, place in found]


def _succeeded(lookup: _Lookup) -> bool:
    # Reading the exception also keeps asyncio from logging that it was never read.
    return not lookup.cancelled() and lookup.exception() is None

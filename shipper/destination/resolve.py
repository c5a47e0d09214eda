"""Name lookups for new connections: one at a time for a name, its answer kept for 30 seconds.

A lookup that takes its time is shared by all who wait for it, and an address that failed isn't
tried for as long as its entry would live. It must never ask anybody where `localhost` is: what a
DNS says of it may be another machine, and plain http is let through to this one (RFC 6761, 6.3).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

CACHE_SECONDS = 30.0

Address: TypeAlias = tuple[socket.AddressFamily, Any]
"""A family and where to connect to, in that family's form."""

_Lookup: TypeAlias = asyncio.Task[list[Address]]


def is_this_machine(name: str) -> bool:
    """Return whether a name stands for this very machine, whatever a DNS says."""
    name = name.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def loopback(port: int) -> list[Address]:
    """Return where this machine is to itself."""
    return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]


class CachingResolver:
    """The operating system's resolver, asked once for all who want the same name."""

    def __init__(
        self,
        system: Callable[[str, int], Awaitable[list[Address]]] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._system = system or _ask_the_system
        self._clock = clock or asyncio.get_running_loop().time
        self._lookups: dict[tuple[str, int], tuple[_Lookup, float]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a name; raises OSError, as the system's resolver does."""
        lookup = self._lookup((host, port))
        # Not awaited itself: who gives up must not take the lookup from the others.
        await asyncio.wait([lookup])
        if lookup.cancelled():
            raise OSError("the resolver was closed")
        return lookup.result()

    def forget(self) -> None:
        """Drop every answer; lookups under way go on, so that a dead resolver gets no crowd."""
        self._lookups = {key: kept for key, kept in self._lookups.items() if not kept[0].done()}

    async def close(self) -> None:
        """Give up what is under way."""
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

    async def _ask(self, host: str, port: int) -> list[Address]:
        return loopback(port) if is_this_machine(host) else await self._system(host, port)


async def _ask_the_system(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, place) for family, _, _, _, place in found]


def _succeeded(lookup: _Lookup) -> bool:
    # Looking at the exception also tells asyncio that somebody did.
    return not lookup.cancelled() and lookup.exception() is None

"""No connection lives for ever: a name that has moved is followed, and no event pays for it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import httpx
import pytest

from shipper.destination.build import KEEPALIVE_SECONDS
from shipper.destination.httpx_transport import HttpxTransport
from shipper.destination.request import (
    LIFETIME_SECONDS,
    Request,
    Target,
    Transport,
    lifetimes,
    post,
)
from shipper.destination.resolve import CACHE_SECONDS
from shipper.destination.transport import FastTransport
from shipper.destination.webhook import Hook
from tests.destination.servers import Server, accepting, serving

OLD, NEW = "127.0.0.1", "127.0.0.2"


class Clock:
    """Time that passes by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def _fast(url: httpx.URL, clock: Callable[[], float]) -> Transport:
    tls = ssl.create_default_context()
    return FastTransport(url, limit=4, timeout=10.0, keepalive=15.0, tls=tls, clock=clock)


def _stock(url: httpx.URL, clock: Callable[[], float]) -> Transport:
    tls = ssl.create_default_context()
    return HttpxTransport(limit=4, timeout=10.0, keepalive=15.0, tls=tls, proxy=None, clock=clock)


each_kind = pytest.mark.parametrize("kind", [_fast, _stock], ids=["ours", "stock"])


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the name service, which knows no other name."""
    known = {"api.example": OLD}
    ask = socket.getaddrinfo

    def asked(host: Any, *args: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return ask(known.get(name, name), *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    return known


@asynccontextmanager
async def both_places() -> AsyncIterator[tuple[Server, Server]]:
    """Run a receiver in the old place, and one on the same port in the new."""
    async with (
        serving(accepting, host=OLD) as old,
        serving(accepting, host=NEW, port=old.port) as new,
    ):
        yield old, new


@each_kind
async def test_a_name_that_has_moved_is_followed(
    kind: Callable[[httpx.URL, Callable[[], float]], Transport], names: dict[str, str]
) -> None:
    """By a connection that is never idle, between two requests; not looked up before that."""
    clock = Clock()
    async with both_places() as (old, new):
        url = httpx.URL(f"http://api.example:{old.port}/")
        target, way = Target(url, "test"), kind(url, clock)
        try:
            for number in range(int(LIFETIME_SECONDS) // 5 + 4):
                assert (await post(way, Request(target, "k", f"e{number}", b"{}"))).status == 202
                names["api.example"] = NEW
                clock.now += 5.0
        finally:
            await way.aclose()
    seen = [request.headers["idempotency-key"] for request in (*old.requests, *new.requests)]
    assert seen == [f"e{number}" for number in range(len(seen))]
    assert (old.connections, new.connections) == (1, 1)
    assert len(new.requests) >= 3


async def test_many_connections_that_are_in_use_all_end(names: dict[str, str]) -> None:
    """None is cut off in its work, and each that comes back is let go."""
    clock = Clock()
    async with both_places() as (old, new):
        url = httpx.URL(f"http://api.example:{old.port}/")
        target, way = Target(url, "test"), _fast(url, clock)
        try:
            sends = [post(way, Request(target, "k", f"e{n}", b"{}")) for n in range(4)]
            begun = [asyncio.create_task(send) for send in sends]
            await asyncio.gather(*begun)
            names["api.example"] = NEW
            clock.now += LIFETIME_SECONDS
            again = [post(way, Request(target, "k", f"f{n}", b"{}")) for n in range(4)]
            assert {answer.status for answer in await asyncio.gather(*again)} == {202}
        finally:
            await way.aclose()
    assert (len(old.requests), len(new.requests)) == (4, 4)


async def test_an_alarms_url_is_followed_too(names: dict[str, str]) -> None:
    """A hook goes the same ways."""
    clock = Clock()
    async with both_places() as (old, new):
        url = f"http://api.example:{old.port}/"
        hook = Hook(url, "POST", timeout=10.0, ca_file=None, proxy=None)
        hook._transport = _fast(httpx.URL(url), clock)
        try:
            for _ in range(2):
                await hook.send(b"{}")
                names["api.example"] = NEW
                clock.now += LIFETIME_SECONDS
        finally:
            await hook.aclose()
    assert (len(old.requests), len(new.requests)) == (1, 1)


def test_no_burst_of_connections_ends_as_a_burst() -> None:
    """Of a thousand that begin together, in no second end more than a tenth; all in a minute."""
    lives = sorted(islice(lifetimes(), 1000))
    assert 0.75 * LIFETIME_SECONDS <= lives[0] <= lives[-1] <= LIFETIME_SECONDS
    for life in lives:
        assert sum(life <= other < life + 1 for other in lives) <= 100


def test_a_name_is_learnt_within_two_minutes() -> None:
    """What the manual says: a connection's age, its rest, and what is kept of a name, together."""
    assert LIFETIME_SECONDS + KEEPALIVE_SECONDS + CACHE_SECONDS < 120

"""Whatever a receiver does, a try ends before its deadline with one definite answer."""

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from tests.destination.servers import (
    ACCEPTED,
    CHUNKED,
    Script,
    Talk,
    accepting,
    answering,
    closing_after_reading,
    closing_at_once,
    dripping,
    dripping_head,
    flooding,
    full_backlog,
    hanging,
    mute,
    pouring,
    resetting,
    serving,
    tunnelling,
    unused_port,
)
from tests.destination.ways import DEADLINE, GRACE, PATIENCE, Way, each_way_and_kind, words

pytestmark = each_way_and_kind
PAYLOAD = b'{"type":"order"}'


@dataclass(frozen=True)
class Place:
    """Where a case sends to."""

    url: str
    ca_file: Path | None = None
    proxy: str | None = None


Scene = Callable[[Path], AbstractAsyncContextManager[Place]]


def at(script: Script) -> Scene:
    """Be a receiver that follows a script."""

    @contextlib.asynccontextmanager
    async def scene(_: Path) -> AsyncIterator[Place]:
        async with serving(script) as server:
            yield Place(server.url)

    return scene


def saying(*answer: bytes) -> Scene:
    """Be a receiver with one answer to everything."""
    return at(answering(*answer))


@contextlib.asynccontextmanager
async def no_listener(_: Path) -> AsyncIterator[Place]:
    """Be a port without a listener."""
    with unused_port() as port:
        yield Place(f"http://127.0.0.1:{port}/")


@contextlib.asynccontextmanager
async def nowhere(_: Path) -> AsyncIterator[Place]:
    """Be a name that cannot exist (RFC 2606)."""
    yield Place("http://shop.invalid/")


@contextlib.asynccontextmanager
async def crowded(_: Path) -> AsyncIterator[Place]:
    """Be a port whose backlog is full."""
    with full_backlog() as port:
        yield Place(f"http://127.0.0.1:{port}/")


def tls(*, trusted: bool, expired: bool = False, name: str = "127.0.0.1") -> Scene:
    """Be a receiver behind a certificate."""

    @contextlib.asynccontextmanager
    async def scene(tmp: Path) -> AsyncIterator[Place]:
        authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.UTC)
        end = now - day if expired else now + day
        authority.issue_cert(name, not_before=now - 2 * day, not_after=end).configure_cert(context)
        ca_file = tmp / "ca.pem"
        authority.cert_pem.write_to_path(ca_file)
        async with serving(accepting, context) as server:
            yield Place(server.url, ca_file if trusted else None)

    return scene


@contextlib.asynccontextmanager
async def tls_to_plain(_: Path) -> AsyncIterator[Place]:
    """Answer a TLS hello in plain HTTP."""

    async def script(talk: Talk) -> None:
        await talk.say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    async with serving(script) as server:
        yield Place(server.url.replace("http:", "https:"))


@contextlib.asynccontextmanager
async def tls_hanging(_: Path) -> AsyncIterator[Place]:
    """Accept, and never return the TLS hello."""
    async with serving(mute) as server:
        yield Place(server.url.replace("http:", "https:"))


def proxied(connect: bytes | None = None, *, secure: bool = True) -> Scene:
    """Be behind a proxy, which answers `connect` to CONNECT instead of connecting."""

    @contextlib.asynccontextmanager
    async def scene(tmp: Path) -> AsyncIterator[Place]:
        proxy_script = tunnelling() if connect is None else tunnelling(connect)
        async with tls(trusted=True)(tmp) as place, serving(proxy_script) as proxy:
            url = place.url if secure else "http://shop.invalid/v3/events"
            yield Place(url, place.ca_file, f"http://127.0.0.1:{proxy.port}")

    return scene


def proxy_down(url: str) -> Scene:
    """Be behind a proxy that isn't there."""

    @contextlib.asynccontextmanager
    async def scene(_: Path) -> AsyncIterator[Place]:
        with unused_port() as port:
            yield Place(url, proxy=f"http://127.0.0.1:{port}")

    return scene


def with_header(size: int) -> bytes:
    """Write an answer with one long header."""
    return b"HTTP/1.1 202 A\r\nx-a: " + b"a" * size + b"\r\ncontent-length: 2\r\n\r\n{}"


MANY_HEADERS = b"HTTP/1.1 202 A\r\n" + b"x-a: aaaaaaaaaaaaaaaa\r\n" * 10_000 + b"\r\n"
REDIRECT = b"HTTP/1.1 307 T\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n"
TWO_LENGTHS = b"HTTP/1.1 202 A\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}}"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
UPGRADE = b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n" + ACCEPTED
GZIPPED = b"HTTP/1.1 202 A\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"

CASES: list[tuple[str, Scene, str]] = [
    ("no listener", no_listener, "refused no"),
    ("no such name", nowhere, "dns no"),
    ("hung connect", crowded, "timeout no"),
    ("TLS untrusted", tls(trusted=False), "tls no"),
    ("TLS expired", tls(trusted=True, expired=True), "tls no"),
    ("TLS for another name", tls(trusted=True, name="shop.example"), "tls no"),
    ("TLS to a plain port", tls_to_plain, "tls no"),
    ("TLS hello unanswered", tls_hanging, "timeout no"),
    ("TLS with our CA file", tls(trusted=True), "202"),
    ("proxy tunnels", proxied(), "202"),
    ("proxy takes absolute form", proxied(secure=False), "202"),
    ("proxy wants a login", proxied(b"HTTP/1.1 407 Login\r\n\r\n"), "proxy no"),
    ("proxy refuses", proxied(b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n"), "proxy no"),
    ("proxy hangs up", proxied(b""), "proxy no"),
    ("proxy talks garbage", proxied(b"SSH-2.0-OpenSSH\r\n\r\n"), "proxy no"),
    ("proxy down, TLS", proxy_down("https://shop.invalid/"), "proxy no"),
    ("proxy down, plain", proxy_down("http://shop.invalid/"), "proxy no"),
    ("accept then hang", at(hanging), "timeout maybe"),
    ("slow drip of the body", at(dripping), "timeout maybe"),
    ("slow drip of the head", at(dripping_head), "timeout maybe"),
    ("flood of 1xx", at(flooding), "timeout maybe"),
    ("closed before reading", at(closing_at_once), "closed maybe"),
    ("closed after reading", at(closing_after_reading), "closed maybe"),
    ("reset in mid-answer", at(resetting), "closed maybe"),
    ("truncated head", saying(b"HTTP/1.1 202 Acc"), "closed maybe"),
    ("truncated body", saying(b"HTTP/1.1 202 A\r\ncontent-length: 9\r\n\r\nabc"), "closed maybe"),
    ("truncated chunk", saying(CHUNKED + b"9\r\nabc"), "closed maybe"),
    ("garbage", saying(b"SSH-2.0-OpenSSH\r\n\r\n"), "garbage maybe"),
    ("binary garbage", saying(bytes(range(256)) * 8), "garbage maybe"),
    ("garbage for a chunk", saying(CHUNKED + b"zz\r\nabc"), "garbage maybe"),
    ("two content-lengths", saying(TWO_LENGTHS), "garbage maybe"),
    ("header of 1 MB", saying(with_header(2**20)), "garbage maybe"),
    ("too many headers", saying(MANY_HEADERS), "garbage maybe"),
    ("status of four digits", saying(b"HTTP/1.1 2020 A\r\n\r\n"), "garbage maybe"),
    ("header of 70 kB", saying(with_header(70_000)), "202"),
    ("interim answers", saying(INTERIM, ACCEPTED), "202"),
    ("endless body", at(pouring), "200"),
    ("204 without body", saying(b"HTTP/1.1 204 No Content\r\n\r\n"), "204"),
    ("HTTP/1.0", saying(b"HTTP/1.0 202 A\r\n\r\n{}"), "202"),
    ("status 299", saying(b"HTTP/1.1 299 A\r\ncontent-length: 0\r\n\r\n"), "299"),
    ("status 999", saying(b"HTTP/1.1 999 A\r\ncontent-length: 0\r\n\r\n"), "999"),
    ("no reason phrase", saying(b"HTTP/1.1 202\r\ncontent-length: 0\r\n\r\n"), "202"),
    ("redirect", saying(REDIRECT), "307"),
    ("another protocol", saying(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "garbage maybe"),
    ("an upgrade", saying(UPGRADE), "garbage maybe"),
    ("status below 100", saying(b"HTTP/1.1 099 A\r\n\r\n"), "garbage maybe"),
    ("an unknown coding", saying(GZIPPED), "garbage maybe"),
    ("no length at all", saying(b"HTTP/1.1 202 A\r\n\r\n{}"), "202"),
    ("bare line feeds", saying(b"HTTP/1.1 202 A\ncontent-length: 2\n\n{}"), "202"),
    ("a folded header", saying(b"HTTP/1.1 202 A\r\nx: a\r\n b\r\n\r\n"), "202"),
    ("a byte at a time", saying(*(bytes([byte]) for byte in INTERIM + ACCEPTED)), "202"),
    ("trailers", saying(CHUNKED + b"2;x=1\r\n{}\r\n0\r\nx-a: b\r\n\r\n"), "200"),
    ("surplus", saying(ACCEPTED + b"HTTP/1.1 500 No\r\n"), "202"),
]


@pytest.mark.parametrize(("scene", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_every_fault_has_one_name(way: Way, tmp_path: Path, scene: Scene, expected: str) -> None:
    """A try ends with exactly the reply or the fault of the table, in time."""
    deadline = DEADLINE if expected.startswith("timeout") else PATIENCE

    async def body() -> None:
        clock = asyncio.get_running_loop().time
        async with (
            scene(tmp_path) as place,
            way.to(
                place.url, timeout=deadline, ca_file=place.ca_file, proxy=place.proxy
            ) as destination,
        ):
            begun = clock()
            answer = await destination.send("order-4711", PAYLOAD, "secret-api-id")
            took = clock() - begun
        assert words(answer) == expected
        assert took < deadline + GRACE
        assert took >= DEADLINE * 0.9 or deadline == PATIENCE
        assert "secret-api-id" not in str(answer)

    way.run(body())


@pytest.mark.parametrize(
    "scene",
    [tls_hanging, crowded, at(hanging), at(dripping)],
    ids=["hello", "connect", "head", "body"],
)
def test_a_deadline_leaves_no_descriptor_behind(way: Way, tmp_path: Path, scene: Scene) -> None:
    """An outage of weeks must not use up the process's files, one try at a time."""

    async def body() -> None:
        async with scene(tmp_path) as place, way.to(place.url, timeout=0.1) as destination:
            await destination.send("warm-up", PAYLOAD, "k")
            before = ours(place)
            for _ in range(3):
                answer = await destination.send("e", PAYLOAD, "k")
                assert words(answer).startswith("timeout")
            assert ours(place) <= before

    def ours(place: Place) -> int:
        port = httpx.URL(place.url).port
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
        return sum(peer_port(descriptor) == port for descriptor in descriptors)

    way.run(body())


def peer_port(descriptor: int) -> int | None:
    """Return the port that a descriptor is connected to, if it is such a socket."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            return int(copy.getpeername()[1]) if copy.family == socket.AF_INET else None
    except OSError:
        return None

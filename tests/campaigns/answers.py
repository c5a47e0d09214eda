"""Bad answers: every status, with all kinds of headers, bodies, framings and timings, over sockets.

What the real client makes of each is compared with a table of its own that is written here once
more, from the design. It must never raise, never call anything accepted that isn't a whole 2xx of
the API's, never take what one answer left for another's, and never need memory for what is poured
into it.
"""

import asyncio
import contextlib
import gzip
import random
import resource
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

from shipper.destination.form import EightSelectForm
from shipper.policy.outcome import Kind, classify
from tests.campaigns.figures import Figures
from tests.daemon.processes import until
from tests.destination.ways import Sender
from tests.laps import laps

NOW = 1_800_000_000.0
AT_ONCE = 64
PATIENCE = 20.0
IMPATIENCE = 0.15
_MEMORY_MB = 200

_REFUSED = {400, 409, 413, 415, 422}
_CONFIGURATION = {401, 403, 404, 405, 407, 410, 421, 451}

_RETRY_AFTER = {
    "0": True, "1": True, "120": True, " 7 ": True, "99999999999999999999": True,
    "Wed, 21 Oct 2015 07:28:00 GMT": True, "Fri, 31 Dec 9999 23:59:59 GMT": True,
    "Sunday, 06-Nov-94 08:49:37 GMT": True,
    "": False, "soon": False, "-1": False, "1.5": False, "1e3": False, "+5": False,
    "0x10": False, "Wed, 99 Foo 2015 99:99:99 GMT": False, "\xa4\xff": False, "1;2": False,
}  # fmt: skip
_TYPES = ("", "application/json", "text/html", "TEXT/HTML; charset=utf-8", "text/plain", "x" * 500)
_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "json": b'{"ok":true}',
    "a page": b"\xef\xbb\xbf \r\n<!doctype html><title>Log in</title>",
    "half a page": b"<",
    "text": b"Bad Gateway",
    "zeros": bytes(3000),
    "not UTF-8": bytes(range(256)),
    "gzip": gzip.compress(b"<html>" + bytes(100_000)),
    "64 KiB": b"a" * (64 << 10),
    "large": b"<" * (200 << 10),
    "an answer": b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
}

Framing = Literal["length", "chunked", "close", "short", "broken chunk", "open chunk"]
_WHOLE: tuple[Framing, ...] = ("length", "chunked", "close")
_PARTIAL: tuple[Framing, ...] = ("short", "broken chunk", "open chunk")


@dataclass(frozen=True, slots=True)
class Plan:
    """One answer: what is sent, in how many pieces, and how the connection goes on."""

    status: int
    framing: Framing
    body: str
    content_type: str
    retry_after: str | None
    noise: tuple[bytes, ...]
    pieces: int
    resets: bool
    raw: bytes | None = None
    """Bytes in place of all that."""
    hangs: bool = False
    interim: int = 0

    def bytes(self) -> bytes:
        """Return what goes over the wire."""
        if self.raw is not None:
            return self.raw
        body = _BODIES[self.body]
        head = [f"HTTP/1.1 {self.status} Whatever".encode("ascii"), *self.noise]
        if self.content_type:
            head.append(f"Content-Type: {self.content_type}".encode("latin-1"))
        if self.retry_after is not None:
            head.append(f"Retry-After: {self.retry_after}".encode("latin-1"))
        if self.framing in {"length", "short"}:
            head.append(b"Content-Length: %d" % (len(body) + 10 * (self.framing == "short")))
        elif self.framing != "close":
            head.append(b"transfer-encoding: chunked")
            body = _chunked(body, self.framing)
        before = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * self.interim
        return before + b"\r\n".join(head) + b"\r\n\r\n" + body

    @property
    def has_body(self) -> bool:
        """Return whether HTTP lets an answer of this status have a body."""
        return self.status not in {204, 304}

    def expected(self) -> set[Kind]:
        """Return what it may mean to the drain."""
        if self.raw is not None or self.hangs or self.status == 101:
            return {Kind.TRANSIENT}
        if self.status < 200:
            # An interim answer, and what follows it may be a real one.
            follows = self.body == "an answer"
            return {Kind.TRANSIENT, Kind.ACCEPTED} if follows else {Kind.TRANSIENT}
        by_status = {_meaning(self)}
        long = len(_BODIES[self.body]) >= 64 << 10
        if self.framing in _PARTIAL and self.has_body and not long:
            return {Kind.TRANSIENT}
        if self.resets:
            # The network may throw away what was not read yet.
            return by_status | {Kind.TRANSIENT}
        return by_status


def _chunked(body: bytes, framing: Framing) -> bytes:
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    text = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts)
    return text + {"chunked": b"0\r\nx-trailer: 1\r\n\r\n", "broken chunk": b"zz\r\n"}.get(
        framing, b""
    )


def _meaning(plan: Plan) -> Kind:
    status = plan.status
    if 200 <= status < 300:
        html = plan.content_type.lower().startswith("text/html")
        page = plan.has_body and _BODIES[plan.body].lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<")
        return Kind.TRANSIENT if html and page else Kind.ACCEPTED
    if status in _REFUSED:
        return Kind.REFUSED
    asks = plan.retry_after is not None and _RETRY_AFTER[plan.retry_after]
    if status == 429 or (status == 503 and asks):
        return Kind.THROTTLED
    if status in _CONFIGURATION or 300 <= status < 400:
        return Kind.MISCONFIGURED
    return Kind.TRANSIENT


_NOISE = (
    b"Set-Cookie: a=b; Domain=.shop.example",
    b"Location: http://elsewhere.invalid/",
    b"Content-Encoding: gzip",
    b"Date: Mon, 01 Jan 2035 00:00:00 GMT",
    b"X-Empty:",
    b"X-Latin: \xe4\xf6\xfc\xff",
    b"X-Long: " + b"y" * 5000,
    b"Connection: close",
    b"Keep-Alive: timeout=0, max=0",
    b'Alt-Svc: h3=":443"',
    b"WWW-Authenticate: Basic",
    b"Refresh: 0; url=http://elsewhere.invalid/",
)
_RAW = (
    b"", b"\r\n", b"HTTP/1.1", b"HTTP/1.1 \r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2p1\r\n", b"ICY 200 OK\r\n\r\n", b"RTSP/1.0 200 OK\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x15\x03\x01\x00\x02\x02F", bytes(2000), b"<html></html>",
    b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2x\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: banana\r\n\r\n{}",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000,
)  # fmt: skip


def plans(number: int, chance: random.Random) -> list[Plan]:
    """Return so many answers; every status from 100 to 999 comes before any comes twice."""
    statuses = list(range(100, 1000))
    chance.shuffle(statuses)
    made = []
    for at in range(number):
        # The statuses that mean something are rare among nine hundred.
        common = at >= 900 and chance.random() < 0.2
        status = chance.choice((200, 202, 204, 304, 429, 503)) if common else statuses[at % 900]
        made.append(_plan(status, chance))
    return made


def _plan(status: int, chance: random.Random) -> Plan:
    oddity = chance.random()
    framing: Framing = chance.choice(_PARTIAL if oddity < 0.15 else _WHOLE)
    noise = chance.sample(_NOISE, chance.randint(0, 4))
    resets = chance.random() < 0.05
    if status in {204, 304}:
        framing = "length"
    if resets or status in {204, 304}:
        # The next try must not meet the end of this one: that would be another story.
        noise.append(b"Connection: close")
    asks = chance.random() < (0.8 if status in {429, 503} else 0.1)
    return Plan(
        status=status,
        framing=framing,
        body=chance.choice(list(_BODIES)),
        content_type=chance.choice(_TYPES),
        retry_after=chance.choice(list(_RETRY_AFTER)) if asks else None,
        noise=tuple(noise),
        pieces=chance.choice((1, 1, 1, 2, 7)),
        resets=resets,
        raw=chance.choice(_RAW) if 0.15 <= oddity < 0.2 else None,
        hangs=0.2 <= oddity < 0.21,
        interim=chance.choice((0, 0, 0, 0, 1, 3)),
    )


class Receiver:
    """Answers request number n with plan n."""

    def __init__(self, chosen: list[Plan]) -> None:
        self._plans = chosen
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Receiver"]:
        """Listen on the loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await until(lambda: not self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether another may come on this connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if line)
        await reader.readexactly(int(fields[b"content-length"]))
        plan = self._plans[int(fields[b"idempotency-key"])]
        if plan.hangs:
            await reader.read()
            return False
        content = plan.bytes()
        size = -(-len(content) // plan.pieces)
        for at in range(0, len(content), max(size, 1)):
            writer.write(content[at : at + size])
            await writer.drain()
            if plan.pieces > 1:
                await laps(1)
        if plan.resets:
            linger = struct.pack("ii", 1, 0)
            peer = writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        goes_on = b"Connection: close" not in plan.noise
        goes_on = (
            goes_on
            and plan.framing in {"length", "chunked"}
            and plan.raw is None
            and plan.status >= 200
        )
        return goes_on and not plan.resets


async def bad_answers(*, number: int, seed: int, stock: bool = False) -> Figures:
    """Give the client so many bad answers.

    With `stock` it is the client that stands in for ours; h11 is more lenient, so that only what
    must never happen is judged.
    """
    figures = Figures("bad answers" + (", stock client" if stock else ""), seed)
    chosen = plans(number, random.Random(seed))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with Receiver(chosen).open() as receiver:
        patient, impatient = (
            Sender(
                EightSelectForm(f"http://127.0.0.1:{receiver.port}/v3/events"),
                timeout=seconds,
                max_in_flight=AT_ONCE,
                transport="httpx" if stock else "auto",
            )
            for seconds in (PATIENCE, IMPATIENCE)
        )
        numbers = count()

        async def work() -> None:
            while (at := next(numbers)) < number:
                client = impatient if chosen[at].hangs else patient
                await _try(client, at, chosen[at], figures, stock=stock)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        await patient.aclose()
        await impatient.aclose()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    figures.measure("megabytes more at the peak", grown)
    figures.expect(grown < _MEMORY_MB, f"it took {grown:.0f} MB")
    figures.expect(len({plan.status for plan in chosen}) == min(number, 900), "a status is missing")
    return figures


async def _try(
    client: Sender,
    at: int,
    plan: Plan,
    figures: Figures,
    *,
    stock: bool,
) -> None:
    try:
        outcome = classify(await client.send(str(at), b'{"type":"view"}', "key"), NOW)
    except Exception as error:  # noqa: BLE001 - that there is none is what is tested
        figures.fault(f"{plan}: it raised {error!r}")
        return
    figures.tried["answers"] += 1
    figures.tried[outcome.kind.value] += 1
    if not stock and outcome.kind not in plan.expected():
        figures.fault(f"{plan} is {outcome.kind}, {outcome.cause}, not {plan.expected()}")
    if outcome.retry_after is not None and not 0 <= outcome.retry_after <= 24 * 3600:
        figures.fault(f"{plan} asks for {outcome.retry_after} s")
    if outcome.kind is Kind.ACCEPTED and not 200 <= (outcome.status_code or 0) < 300:
        figures.fault(f"{plan} was accepted")

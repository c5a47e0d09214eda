"""A request and its answer, as both transports know them.

It decides the bytes of a request's head, and that an answer is reported once: not after `cancel`. A
transport must never send a request twice, must set `begun` before the first byte can leave, and
must never send one that `is_late`.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from math import inf
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast

import httpx

from shipper.policy.outcome import Reply, UnderWay

_T = TypeVar("_T")

Answer: TypeAlias = Reply | Exception
"""A whole answer, or why there is none."""

# No more bytes of an answer's body are read.
BODY_LIMIT: Final = 64 * 1024


# A connection is used for at most this many seconds, and at least for a quarter less. The addresses
# of a cloud's load balancers live for a minute; a new connection a minute costs next to nothing.
# Without a limit, a busy connection would stay with a machine that the name no longer points to
# (golang/go 23427), or with one of several machines. HikariCP has 30 minutes and nginx an hour:
# they connect to servers whose names don't move.
LIFETIME_SECONDS: Final = 60.0
_GOLDEN = 0.6180339887

PORTS: Final = {"http": 80, "https": 443}

RequestStage: TypeAlias = Literal["", "turn", "name", "address", "tls"]
"""What a request waits for before its first byte leaves."""

# The headers of an answer that are used.
KEPT: Final = frozenset(
    {b"content-type", b"retry-after", b"date", b"location", b"content-length", b"transfer-encoding"}
)


def lifetimes() -> Iterator[float]:
    """Yield lifetimes in seconds, spread so that connections made together don't end together."""
    return (LIFETIME_SECONDS * (1 - 0.25 * (number * _GOLDEN % 1)) for number in count())


class NotHttpError(Exception):
    """The answer isn't HTTP, or exceeds a bound."""


def is_known(version: bytes) -> bool:
    """Return whether an answer with this version of HTTP can be read.

    RFC 9110, 2.5: a higher minor version changes nothing; a higher major one changes everything.
    Some receivers write `HTTP/2.0` although they use 1.1.
    """
    return version.removeprefix(b"HTTP/")[:1] in {b"0", b"1", b"2"}


def reply(
    status: int,
    fields: dict[bytes, bytes] | Iterable[tuple[bytes, bytes]],
    body: bytes | bytearray,
) -> Reply:
    """Return the parts of an answer as a Reply; if a header comes twice, the first counts."""
    kept = (fields if isinstance(fields, dict) else _first_of_each(fields)).get
    return Reply(
        status,
        _text(kept(b"content-type")) or "",
        _text(kept(b"retry-after")),
        _text(kept(b"date")),
        bytes(body[:BODY_LIMIT]),
        _text(kept(b"location")),
    )


def _text(value: bytes | None) -> str | None:
    # RFC 9110, 5.5: bytes that aren't ASCII are opaque.
    return None if value is None else value.strip().decode("latin-1")


def _first_of_each(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    kept: dict[bytes, bytes] = {}
    for name, value in fields:
        kept.setdefault(name.lower(), value)
    return kept


def certified(host: str) -> str:
    """Return a host as its certificate names it: without a dot at the end."""
    return host.rstrip(".")


class Target:
    """One URL, and the part of a request's head that stays the same."""

    def __init__(self, url: httpx.URL, user_agent: str, method: str = "POST") -> None:
        self.url = url
        self.method = method
        self._fields = {
            "host": url.netloc.decode("ascii"),
            "accept": "*/*",
            # Answers are never unpacked, so a compression bomb does no harm.
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": user_agent,
        }
        self._line = f"{method} {url.raw_path.decode('ascii')} HTTP/1.1\r\n"
        self._api_id = ""
        self._beginning = self._begin("")

    def fields(self, api_id: str) -> dict[str, str]:
        """Return the headers of every request with this API ID; an empty one adds no header."""
        return {**self._fields, "x-api-id": api_id} if api_id else self._fields

    def beginning(self, api_id: str) -> bytes:
        """Return the request line and these headers, as they are sent."""
        if api_id != self._api_id:
            self._api_id, self._beginning = api_id, self._begin(api_id)
        return self._beginning

    def _begin(self, api_id: str) -> bytes:
        fields = self.fields(api_id).items()
        lines = (f"{name}: {value}\r\n" for name, value in fields)
        return (self._line + "".join(lines)).encode("ascii")


class Line(Protocol):
    """What a request is sent on."""

    def fail(self, error: Exception) -> None:
        """Close at once; the request gets the error as its answer."""


class Request:
    """One request, and its try while that is under way.

    `begun` becomes true just before its first byte can leave. The transport notes its `connection`,
    and when its time is over (`due`, in the loop's time). `until` is by when it has to be over,
    in the time of the transport's clock: that goes on while the machine sleeps.
    """

    __slots__ = (
        "_done",
        "_transport",
        "api_id",
        "begun",
        "body",
        "connection",
        "due",
        "key",
        "stage",
        "target",
        "until",
    )

    def __init__(self, target: Target, api_id: str, key: str | None, body: bytes) -> None:
        self.target = target
        self.api_id = api_id
        self.key = key
        self.body = body
        self.begun = False
        self.stage: RequestStage = ""
        self.due = self.until = inf
        self.connection: Line | None = None
        self._transport: Transport | None = None
        self._done: Callable[[Answer], None] | None = None

    @property
    def method(self) -> str:
        """The method of the request."""
        return self.target.method

    @property
    def url(self) -> httpx.URL:
        """The URL of the request."""
        return self.target.url

    def fields(self) -> dict[str, str]:
        """Return the headers without the length of the body."""
        fields = self.target.fields(self.api_id)
        return fields if self.key is None else {**fields, "idempotency-key": self.key}

    def head(self) -> bytes:
        """Return the bytes of the request's head."""
        key = "" if self.key is None else f"idempotency-key: {self.key}\r\n"
        length = f"{key}content-length: {len(self.body)}\r\n\r\n".encode("ascii")
        return self.target.beginning(self.api_id) + length

    def is_late(self, looped: float, now: float) -> bool:
        """Return whether it is too late to send it: its time is over, or would end too late.

        `looped` is the loop's time, `now` that of the transport's clock.
        """
        return self.due <= looped or now + (self.due - looped) > self.until

    def begin(self, transport: "Transport", done: Callable[[Answer], None]) -> None:
        """Note who sends it, and who gets the answer."""
        self._transport, self._done = transport, done

    def settle(self, answer: Answer) -> None:
        """Report the answer; do nothing if the request was answered or cancelled before."""
        done, self._done = self._done, None
        if done is not None:
            done(answer)

    def cancel(self) -> None:
        """Give the request up: its answer isn't reported. The receiver may have the event."""
        transport, done, self._done = self._transport, self._done, None
        if transport is not None and done is not None:
            transport.drop(self)


class MadeRequest(Request):
    """A request whose path and headers were made for this event: of a destination of kind http.

    `path` is the path and query as they are sent. All texts are visible ASCII and spaces.
    """

    __slots__ = ("_fields", "_path")

    def __init__(self, target: Target, path: str, fields: dict[str, str], body: bytes) -> None:
        super().__init__(target, "", None, body)
        self._path = path
        self._fields = fields

    @property
    def url(self) -> httpx.URL:
        """The URL of the request, with its own path and query."""
        return self.target.url.copy_with(raw_path=self._path.encode("ascii"))

    def fields(self) -> dict[str, str]:
        """Return the headers without the length of the body."""
        return self._fields

    def head(self) -> bytes:
        """Return the bytes of the request's head."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self._fields.items()])
        return (
            f"{self.target.method} {self._path} HTTP/1.1\r\n{lines}"
            f"content-length: {len(self.body)}\r\n\r\n"
        ).encode("ascii")


class Transport(Protocol):
    """Sends requests to one origin. Belongs to the event loop in which it was opened."""

    def begin(self, request: Request, done: Callable[[Answer], None]) -> Request:
        """Send a request once; `done` gets the answer before the deadline, or what went wrong.

        `done` is called exactly once, after `begin` has returned; not if the request is cancelled.
        What goes wrong is one of `faults.FAILURES`; any other exception is a bug.
        """

    def drop(self, request: Request) -> None:
        """End a request that was cancelled, and free its place."""

    async def aclose(self) -> None:
        """Close every connection, used or not; what is under way gets a ConnectionAbortedError."""


def failure_of(task: asyncio.Task[Any]) -> Exception | None:
    """Return why a task that has ended has no result; None if it has one."""
    if task.cancelled():
        return ConnectionAbortedError()
    return cast("Exception | None", task.exception())


async def post(transport: Transport, request: Request) -> Reply:
    """Send a request once, before the deadline; raises one of `faults.FAILURES`."""
    return await awaited(partial(transport.begin, request))


async def awaited(begin: Callable[[Callable[[_T | Exception], None]], UnderWay]) -> _T:
    """Begin something that calls back once; return what it calls back with, or raise that."""
    answered: asyncio.Future[_T | Exception] = asyncio.get_running_loop().create_future()

    def done(answer: _T | Exception) -> None:
        if not answered.done():  # it is cancelled before the block below runs
            answered.set_result(answer)

    under_way = begin(done)
    try:
        answer = await answered
    except asyncio.CancelledError:
        under_way.cancel()
        raise
    if isinstance(answer, Exception):
        raise answer
    return answer

"""A request and its answer, as both transports know them.

It decides the bytes of a request's head. A transport must never send a request twice, and must set
`begun` before the first byte can leave.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Final, Literal, Protocol, TypeAlias

import httpx

from shipper.policy.outcome import Reply

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

Stage: TypeAlias = Literal["", "turn", "name", "address", "tls"]
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
    fields: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]],
    body: bytes | bytearray,
) -> Reply:
    """Return the parts of an answer as a Reply; if a header comes twice, the first counts."""
    kept = fields if isinstance(fields, Mapping) else _first_of_each(fields)

    def text(name: bytes) -> str | None:
        # RFC 9110, 5.5: bytes that aren't ASCII are opaque.
        value = kept.get(name)
        return None if value is None else value.strip().decode("latin-1")

    return Reply(
        status,
        content_type=text(b"content-type") or "",
        retry_after=text(b"retry-after"),
        date=text(b"date"),
        body=bytes(body[:BODY_LIMIT]),
        location=text(b"location"),
    )


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

    def beginning(self, api_id: str) -> str:
        """Return the request line and these headers as text."""
        if api_id != self._api_id:
            self._api_id, self._beginning = api_id, self._begin(api_id)
        return self._beginning

    def _begin(self, api_id: str) -> str:
        fields = self.fields(api_id).items()
        return self._line + "".join(f"{name}: {value}\r\n" for name, value in fields)


class Request:
    """One request. `begun` becomes true just before its first byte can leave."""

    __slots__ = ("api_id", "begun", "body", "key", "stage", "target")

    def __init__(self, target: Target, api_id: str, key: str | None, body: bytes) -> None:
        self.target = target
        self.api_id = api_id
        self.key = key
        self.body = body
        self.begun = False
        self.stage: Stage = ""

    def fields(self) -> dict[str, str]:
        """Return the headers without the length of the body."""
        fields = self.target.fields(self.api_id)
        return fields if self.key is None else {**fields, "idempotency-key": self.key}

    def head(self) -> bytes:
        """Return the bytes of the request's head."""
        key = "" if self.key is None else f"idempotency-key: {self.key}\r\n"
        beginning = self.target.beginning(self.api_id)
        return f"{beginning}{key}content-length: {len(self.body)}\r\n\r\n".encode("ascii")


class Transport(Protocol):
    """Sends requests to one origin. Belongs to the event loop in which it was opened."""

    async def post(self, request: Request) -> Reply:
        """Send a request once, before the deadline; raises one of `faults.FAILURES`."""

    async def aclose(self) -> None:
        """Close every connection, used or not."""

"""What a try is, and what carries one: our own HTTP client, or the stock one of httpx.

It decides which bytes make the head of a request. A way must never send a try twice, and must say
that it has begun before the first byte of it can have left.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Final, Literal, Protocol, TypeAlias

import httpx

from shipper.policy.outcome import Reply

# Of the body of an answer no more is read.
BODY_LIMIT: Final = 64 * 1024


# A connection is used for so many seconds at most, and a quarter less at least. The addresses of a
# cloud's balancers live for a minute; a new connection a minute costs nothing that can be measured.
# A connection that never rests would else stay with the machine that a name has moved away from
# (golang/go 23427), or with one of several for ever. HikariCP's 30 minutes and nginx's hour spare
# databases and servers, whose names don't move.
LIFETIME_SECONDS: Final = 60.0
_GOLDEN = 0.6180339887

PORTS: Final = {"http": 80, "https": 443}

Stage: TypeAlias = Literal["", "turn", "name", "address", "tls"]
"""How far a try has come before its first byte: what it waits for."""

# The headers of an answer that anybody asks for.
KEPT: Final = frozenset(
    {b"content-type", b"retry-after", b"date", b"location", b"content-length", b"transfer-encoding"}
)


def lifetimes() -> Iterator[float]:
    """Yield the seconds that connections live, spread so that no burst of them ends as a burst."""
    return (LIFETIME_SECONDS * (1 - 0.25 * (number * _GOLDEN % 1)) for number in count())


class NotHttpError(Exception):
    """What came back isn't HTTP, or is out of every bound."""


def is_known(version: bytes) -> bool:
    """Return whether we know how to read an answer that says it is of this version of HTTP.

    RFC 9110, 2.5: a higher minor version changes nothing; a higher major one changes everything.
    Some receivers write `HTTP/2.0` where they speak 1.1.
    """
    return version.removeprefix(b"HTTP/")[:1] in {b"0", b"1", b"2"}


def reply(
    status: int,
    fields: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]],
    body: bytes | bytearray,
) -> Reply:
    """Return an answer of what was read; of a header that comes twice the first counts."""
    kept = fields if isinstance(fields, Mapping) else _first_of_each(fields)

    def text(name: bytes) -> str | None:
        # RFC 9110, 5.5: whatever isn't ASCII is opaque.
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
    """Return a host as its certificate has it: without the dot that a name may have at its end."""
    return host.rstrip(".")


class Target:
    """One URL to ask, with all of a request's head that stays the same."""

    def __init__(self, url: httpx.URL, user_agent: str, method: str = "POST") -> None:
        self.url = url
        self.method = method
        self._fields = {
            "host": url.netloc.decode("ascii"),
            "accept": "*/*",
            # Nothing here unpacks an answer, so none can be a bomb.
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": user_agent,
        }
        self._line = f"{method} {url.raw_path.decode('ascii')} HTTP/1.1\r\n"
        self._api_id = ""
        self._beginning = self._begin("")

    def fields(self, api_id: str) -> dict[str, str]:
        """Return the headers that every request with this API ID has; empty stands for none."""
        return {**self._fields, "x-api-id": api_id} if api_id else self._fields

    def beginning(self, api_id: str) -> str:
        """Return the same as the first lines of a request."""
        if api_id != self._api_id:
            self._api_id, self._beginning = api_id, self._begin(api_id)
        return self._beginning

    def _begin(self, api_id: str) -> str:
        fields = self.fields(api_id).items()
        return self._line + "".join(f"{name}: {value}\r\n" for name, value in fields)


class Request:
    """One request. `begun` turns true just before its first byte can leave."""

    __slots__ = ("api_id", "begun", "body", "key", "stage", "target")

    def __init__(self, target: Target, api_id: str, key: str | None, body: bytes) -> None:
        self.target = target
        self.api_id = api_id
        self.key = key
        self.body = body
        self.begun = False
        self.stage: Stage = ""

    def fields(self) -> dict[str, str]:
        """Return the headers, all but the length of the body."""
        fields = self.target.fields(self.api_id)
        return fields if self.key is None else {**fields, "idempotency-key": self.key}

    def head(self) -> bytes:
        """Return the head of the request as it goes over the wire."""
        key = "" if self.key is None else f"idempotency-key: {self.key}\r\n"
        beginning = self.target.beginning(self.api_id)
        return f"{beginning}{key}content-length: {len(self.body)}\r\n\r\n".encode("ascii")


class Transport(Protocol):
    """Carries tries to one origin. Belongs to the event loop in which it was opened."""

    async def post(self, request: Request) -> Reply:
        """Make one try before the way's deadline; raises one of `faults.FAILURES`."""

    async def aclose(self) -> None:
        """Close every connection, used or not."""

"""What one try meant: a reply or a fault becomes an outcome. Pure, and the only table of this.

It decides what kind of outcome a try has. `blame` decides whose fault it is, and `delivery` what
becomes of the event. It must never take the web page of a captive portal for a success.

    any 2xx                                    accepted (but not text/html that begins with `<`)
    400 409 413 415 422, invalid, unbuildable  refused: the event's own fault
    429, 503 with Retry-After                  throttled: the destination asks for a pause
    401 403 404 405 407 410 421 451, 3xx, TLS  misconfigured: a person has to act
    a token endpoint that refuses credentials  misconfigured
    everything else                            transient

Sources: RFC 9110 (status codes, Retry-After, Date), RFC 6585 (429, 511), RFC 7725 (451).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from shipper.wording.status_codes import meaning

EXCERPT_CHARS = 500
RETRY_AFTER_MAX = 24 * 3600.0

_REFUSED = frozenset({400, 409, 413, 415, 422})
_PORTAL = "a web page came instead of the API's answer"
_OF_THE_OPERATOR = frozenset({"tls", "credentials", "clock"})
_MISCONFIGURED = frozenset({401, 403, 404, 405, 407, 410, 421, 451})

FaultKind = Literal[
    "refused",  # nothing listens at the address
    "dns",  # the name has no address
    "unreachable",  # no route, or the connection couldn't be made for another reason
    "tls",  # the certificate isn't trusted, or TLS failed
    "proxy",  # the proxy made no connection to the receiver
    "timeout",  # the deadline of the try passed
    "closed",  # the connection ended before the answer was whole
    "garbage",  # the answer isn't HTTP, or exceeds a bound
    "token",  # the token endpoint gave no access token, for a reason that may pass
    "credentials",  # the token endpoint refuses these credentials
    "clock",  # this machine's clock and the receiver's are too far apart for a signature
]


class Kind(Enum):
    """The five kinds of outcome that a try can have."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    THROTTLED = "throttled"
    MISCONFIGURED = "misconfigured"
    TRANSIENT = "transient"


Answers: TypeAlias = Mapping[int, Kind]
"""What a destination says that a status means; for each other status the table above holds."""

TABLE: Final[Answers] = {}


class Reply(NamedTuple):
    """A whole HTTP answer; `body` holds at most its first 64 KiB."""

    status: int
    content_type: str = ""
    retry_after: str | None = None
    date: str | None = None
    body: bytes = b""
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """No whole answer came. `sent` says whether the receiver may have the event."""

    kind: FaultKind
    sent: Literal["no", "maybe"]
    detail: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """The event wasn't sent: it breaks the contract, or no request can be made from it."""

    cause: Literal["invalid", "unbuildable"]
    reason: str


Report: TypeAlias = Callable[[Reply | Fault | Invalid | Exception], None]
"""Takes what one try brought; an exception is a bug of the program."""


class UnderWay(Protocol):
    """A try that has begun and has no answer yet."""

    def cancel(self) -> object:
        """Give it up: it doesn't call back from now on."""


class Outcome(NamedTuple):
    """What a try meant. `cause` is a short word to group by; `detail` is a text for people."""

    kind: Kind
    cause: str
    detail: str = ""
    status_code: int | None = None
    excerpt: str | None = None
    maybe_received: bool = False
    reached: bool = True
    """Whether the receiver got the event, or may have. If not, the event can't be the cause."""
    retry_after: float | None = None

    @property
    def is_unsent_refusal(self) -> bool:
        """Whether the event can't be sent at all: this says nothing about the link."""
        return self.kind is Kind.REFUSED and self.status_code is None

    @property
    def reason(self) -> str:
        """Return the detail with the status code before it, as in `HTTP 404: nothing …`."""
        detail = self.detail or self.cause
        if self.status_code is None or detail.startswith(f"HTTP {self.status_code}"):
            return detail
        return f"HTTP {self.status_code}: {detail}"


# Most answers are one of these.
_ACCEPTED = {
    status: Outcome(Kind.ACCEPTED, cause="accepted", status_code=status)
    for status in range(200, 300)
}


def accepted(reply: Reply, answers: Answers = TABLE) -> Outcome | None:
    """Return the outcome if the receiver has accepted the event, else None.

    A captive portal's page is no success, whatever `answers` says.
    """
    status = reply.status
    if not answers:
        outcome = _ACCEPTED.get(status)
    elif answers.get(status, _kind_of(status, None)) is Kind.ACCEPTED:
        outcome = Outcome(Kind.ACCEPTED, cause="accepted", status_code=status)
    else:
        return None
    return None if outcome is None or _is_portal(reply) else outcome


def classify(
    answer: Reply | Fault | Invalid, wall: float, where: str = "", answers: Answers = TABLE
) -> Outcome:
    """Return what an answer means.

    `wall` is in seconds since 1970: a Retry-After date is measured against it if the answer has no
    Date header. `where` is the receiver's host and port for the detail. `answers` stands over the
    table.
    """
    if isinstance(answer, Reply):
        return _classify_reply(answer, wall, where, answers)
    if isinstance(answer, Invalid):
        return Outcome(Kind.REFUSED, cause=answer.cause, detail=answer.reason)
    return Outcome(
        Kind.MISCONFIGURED if answer.kind in _OF_THE_OPERATOR else Kind.TRANSIENT,
        cause=answer.kind,
        detail=answer.detail,
        maybe_received=answer.sent == "maybe",
        reached=answer.sent == "maybe",
    )


def _classify_reply(reply: Reply, wall: float, where: str, answers: Answers) -> Outcome:
    status = reply.status
    outcome = accepted(reply, answers)
    if outcome is not None:
        return outcome
    retry_after = parse_retry_after(reply.retry_after, reply.date, wall)
    kind = answers.get(status) or _kind_of(status, retry_after)
    portal = kind is Kind.ACCEPTED or status == 511 or (status < 300 and _is_portal(reply))
    if portal:
        kind = Kind.TRANSIENT
    detail = _PORTAL if portal else meaning(status, reply.location, where)
    return Outcome(
        kind,
        cause="portal" if portal else f"http-{status}",
        detail=f"{detail} ({where})" if where else detail,
        status_code=status,
        excerpt=excerpt(reply.body),
        retry_after=retry_after if kind is Kind.THROTTLED else None,
    )


def _kind_of(status: int, retry_after: float | None) -> Kind:
    if 200 <= status < 300:
        return Kind.ACCEPTED
    if status in _REFUSED:
        return Kind.REFUSED
    if status == 429 or (status == 503 and retry_after is not None):
        return Kind.THROTTLED
    if status in _MISCONFIGURED or 300 <= status < 400:
        return Kind.MISCONFIGURED
    return Kind.TRANSIENT


def _is_portal(reply: Reply) -> bool:
    # An API rarely answers with HTML: without a `<` there is nothing to compare.
    if b"<" not in reply.body:
        return False
    is_html = reply.content_type.partition(";")[0].strip().lower() == "text/html"
    return is_html and reply.body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def parse_retry_after(value: str | None, date: str | None, wall: float) -> float | None:
    """Return the seconds that a Retry-After asks for, in [0, 24 h]; None if it isn't valid.

    RFC 9110, 10.2.3: it is a number of seconds or an HTTP date. A date is measured against the
    answer's Date header, because the receiver's clock and this machine's can differ.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX)
    until = http_date(text)
    if until is None:
        return None
    sent = http_date((date or "").strip())
    return min(max(until - (wall if sent is None else sent), 0.0), RETRY_AFTER_MAX)


def http_date(text: str) -> float | None:
    """Return a date of HTTP in seconds since 1970; None if it isn't one."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def excerpt(body: bytes) -> str | None:
    """Return the beginning of a body as printable text; None if there is none."""
    text = body[: 4 * EXCERPT_CHARS].decode("utf-8", "replace")[:EXCERPT_CHARS]
    return "".join(c if c.isprintable() else " " for c in text).strip() or None

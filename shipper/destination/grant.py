"""What is asked of a token endpoint, and what its answer means: RFC 6749, 4.4 and 5.

It decides whose fault a refusal is: that of the credentials, so a person has to act, or one that
passes. It must never show a byte of an answer: it may hold a token, or echo the credentials.
"""

import re
from base64 import b64encode
from typing import Final, Literal, NamedTuple
from urllib.parse import quote_plus, urlencode

import orjson

from shipper.policy.outcome import Fault, Kind, Reply, classify

# RFC 6749, 5.2, and RFC 8707, 2: the words that are safe to repeat.
_ERRORS: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
    }
)
_USABLE: Final = re.compile(r"[\x21-\x7e]+")
_SECONDS: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]*)?")


class Credentials(NamedTuple):
    """Who asks for a token, and for which one."""

    client_id: str
    secret: str
    scope: str = ""
    audience: str = ""
    client_auth: Literal["basic", "post"] = "basic"

    def __repr__(self) -> str:
        return f"Credentials({self.client_id!r})"

    @property
    def authorization(self) -> str:
        """Return the header `authorization`; empty if the secret goes into the body.

        RFC 6749, 2.3.1: both parts are encoded as in a form before they are joined. A `+` or a `:`
        in a secret would mean something else otherwise.
        """
        if self.client_auth == "post":
            return ""
        both = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
        return f"Basic {b64encode(both.encode('ascii')).decode('ascii')}"

    @property
    def body(self) -> bytes:
        """Return the form that asks for a token."""
        fields = {"grant_type": "client_credentials"}
        if self.scope:
            fields["scope"] = self.scope
        if self.audience:
            fields["audience"] = self.audience
        if self.client_auth == "post":
            fields |= {"client_id": self.client_id, "client_secret": self.secret}
        return urlencode(fields).encode("ascii")


class Token(NamedTuple):
    """An access token, and the seconds that it lives; None if the endpoint doesn't say."""

    text: str
    seconds: float | None

    def __repr__(self) -> str:
        return f"Token(****, {self.seconds})"


def token_of(reply: Reply, wall: float, where: str) -> Token | Fault:
    """Return the token in an answer, or why there is none; `where` is the endpoint's host and port.

    `wall` is in seconds since 1970.
    """
    outcome = classify(reply._replace(body=reply.body[:64]), wall, where)
    status = f"HTTP {reply.status}"
    if outcome.kind in {Kind.THROTTLED, Kind.TRANSIENT}:
        return Fault("token", "no", f"the token endpoint {where} gives no token: {status}")
    found = _fields(reply.body)
    if outcome.kind is not Kind.ACCEPTED or (found or {}).get("error"):
        return _refused(where, status, (found or {}).get("error"))
    if found is None:
        why = "its answer isn't JSON, or longer than 64 KiB"
        return Fault("token", "no", f"the token endpoint {where} gives no token: {why}")
    return _token(found, where)


def _token(found: dict[str, object], where: str) -> Token | Fault:
    text, kind = found.get("access_token"), found.get("token_type", "Bearer")
    if not isinstance(text, str) or not text:
        return _refused(where, "an answer without access_token")
    if not _USABLE.fullmatch(text):
        return _refused(where, "a token with characters that can't be sent")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return _refused(where, "a token of another type than Bearer")
    return Token(text, _seconds(found.get("expires_in")))


def _seconds(value: object) -> float | None:
    # Several servers write a text; some write 0 for a token that doesn't expire.
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return float(value)


def _fields(body: bytes) -> dict[str, object] | None:
    try:
        found = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _refused(where: str, why: str, error: object = None) -> Fault:
    word = f", {error}" if isinstance(error, str) and error in _ERRORS else ""
    return Fault("credentials", "no", f"the token endpoint {where} gives no token: {why}{word}")

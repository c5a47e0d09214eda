"""The sandbox's OAuth2 server: tokens for one client, short-lived, and revocable (RFC 6749, 7009).

It gives a token for client credentials (RFC 6749, 4.4), whichever of the two ways the client uses
to show its secret, but never for both at once (2.3). It takes the time as an argument. At most
1,000 tokens are known; the oldest is forgotten first.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from shipper.sandbox.api import RequestInfo, SandboxAnswer, is_same, json_answer, problem

FETCH_PATH: Final = "/oauth/token"
REVOKE_PATH: Final = "/oauth/revoke"
TOKENS_KEPT: Final = 1_000
# No cache may keep a token (RFC 6749, 5.1).
_UNCACHED: Final = {"Cache-Control": "no-store"}
_ASK_BASIC: Final = {"WWW-Authenticate": 'Basic realm="sandbox"', **_UNCACHED}
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """The one client that the sandbox knows; `lifetime` is that of its tokens, in seconds."""

    id: str
    secret: str = field(repr=False)
    lifetime: float = 300.0


class IssuedTokens:
    """Gives out tokens, checks them and revokes them. `given` counts all that were given out."""

    def __init__(
        self, client: OAuthClient, new_token: Callable[[], str] = lambda: token_urlsafe(24)
    ) -> None:
        self.given = 0
        self._client = client
        self._new_token = new_token
        self._ends: dict[str, float] = {}

    def is_good(self, token: str, now: float) -> bool:
        """Return whether a token was given out, hasn't expired, and wasn't revoked."""
        return now < self._ends.get(token, float("-inf"))

    def revoke(self, token: str | None = None) -> None:
        """Revoke a token before its time; without one, revoke all."""
        if token is None:
            self._ends.clear()
        else:
            self._ends.pop(token, None)

    def answer(self, info: RequestInfo, now: float) -> SandboxAnswer:
        """Return the answer to a request to `FETCH_PATH` or `REVOKE_PATH`."""
        if info.method != "POST":
            return problem(405, "POST only", {"Allow": "POST"})
        form = _form(info)
        if isinstance(form, str):
            return _refusal("invalid_request", form)
        refused = self._refused_client(info.headers.get("authorization"), form)
        if refused is not None:
            return refused
        if info.path == REVOKE_PATH:
            self.revoke(form.get("token") or None)
            return SandboxAnswer(200)
        if form.get("grant_type") != "client_credentials":
            return _refusal("unsupported_grant_type", "only client_credentials")
        return self._give(now)

    def _give(self, now: float) -> SandboxAnswer:
        token, lifetime = self._new_token(), self._client.lifetime
        self.given += 1
        self._ends[token] = now + lifetime
        while len(self._ends) > TOKENS_KEPT:
            del self._ends[next(iter(self._ends))]
        # Rounded down: the client must not believe in a token for longer than this server does.
        body = {"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime)}
        return json_answer(200, body, _UNCACHED)

    def _refused_client(
        self, authorization: str | None, form: dict[str, str]
    ) -> SandboxAnswer | None:
        if authorization is not None and "client_secret" in form:
            return _refusal("invalid_request", "the client shows its secret twice")
        if authorization is not None:
            shown = basic_pair(authorization)
            shown = None if shown is None else (unquote_plus(shown[0]), unquote_plus(shown[1]))
        else:
            shown = form.get("client_id", ""), form.get("client_secret", "")
        if shown is None or not self._is_client(*shown):
            return _refusal("invalid_client", "client id or secret is wrong", 401, _ASK_BASIC)
        return None

    def _is_client(self, name: str, secret: str) -> bool:
        return is_same(name, self._client.id) and is_same(secret, self._client.secret)


def _form(info: RequestInfo) -> dict[str, str] | str:
    """Return the parameters of a form, or why it is none."""
    if info.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return f"the content type must be {_FORM}"
    pairs = parse_qsl(info.payload.decode("utf-8", "replace"), keep_blank_values=True)
    form = dict(pairs)
    return form if len(form) == len(pairs) else "a parameter stands twice"


def basic_pair(authorization: str) -> tuple[str, str] | None:
    """Return user and password of an Authorization header, or None if it has none (RFC 7617)."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def _refusal(
    error: str, why: str, status: int = 400, headers: dict[str, str] | None = None
) -> SandboxAnswer:
    body = {"error": error, "error_description": why}
    return json_answer(status, body, headers or _UNCACHED)

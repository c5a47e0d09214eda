"""Any HTTP API that takes one event a request: it has every path, for POST, PUT and PATCH.

Such an API checks nothing of an event. It can ask for a bearer token, for a user with a password,
for a token of its own OAuth2 server, and for a signature; what it isn't told to ask for, it doesn't
check. An accepted event gets 202 without a body. A request that isn't authorised gets 401 with the
reason, and so does a wrong signature: the sender has to fix its configuration.
"""

from collections.abc import Sequence
from typing import Final

from shipper.sandbox.api import ACCEPTED, RequestInfo, SandboxAnswer, is_same, problem
from shipper.sandbox.signed import wrong_signature
from shipper.sandbox.tokens import FETCH_PATH, REVOKE_PATH, IssuedTokens, OAuthClient, basic_pair

_METHODS: Final = ("POST", "PUT", "PATCH")


class AnyApi:
    """An HTTP API. `tokens` is its OAuth2 server, if it has one.

    A request is authorised by any of `bearer` (a token), `basic` (user and password) and a token
    that was given to `client`; if all are left out, every request is. `sign_keys` are the keys of
    which one must have signed it.
    """

    events_path = "/events"
    # Standard Webhooks and CloudEvents have headers of their own for the identity of an event.
    key_headers: tuple[str, ...] = ("idempotency-key", "webhook-id", "ce-id")

    def __init__(
        self,
        *,
        bearer: str | None = None,
        basic: tuple[str, str] | None = None,
        client: OAuthClient | None = None,
        sign_keys: Sequence[bytes] = (),
    ) -> None:
        self.tokens = None if client is None else IssuedTokens(client)
        self._bearer = bearer
        self._basic = basic
        self._sign_keys = sign_keys

    def is_event(self, info: RequestInfo) -> bool:
        """Return whether the request sends an event: each does, but one to the OAuth2 server."""
        return info.method in _METHODS and not self._is_for_tokens(info)

    def is_ours(self, info: RequestInfo) -> bool:
        """Return True: the API has every path."""
        del info
        return True

    def answer(self, info: RequestInfo, wall: float) -> SandboxAnswer:
        """Return the answer to a request at a time, in seconds since 1970."""
        if self.tokens is not None and self._is_for_tokens(info):
            return self.tokens.answer(info, wall)
        if info.method not in _METHODS:
            methods = ", ".join(_METHODS)
            return problem(405, f"only {methods}", {"Allow": methods})
        refused = self._unauthorised(info.headers.get("authorization", ""), wall)
        if refused is not None:
            return refused
        wrong = wrong_signature(info, self._sign_keys, wall) if self._sign_keys else None
        return ACCEPTED if wrong is None else problem(401, wrong)

    def _is_for_tokens(self, info: RequestInfo) -> bool:
        return self.tokens is not None and info.path in {FETCH_PATH, REVOKE_PATH}

    def _unauthorised(self, authorization: str, now: float) -> SandboxAnswer | None:
        if (self._bearer, self._basic, self.tokens) == (None, None, None):
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and self._is_token(token, now):
            return None
        pair = basic_pair(authorization)
        if self._basic is not None and pair is not None and _are_same(pair, self._basic):
            return None
        if self._bearer is None and self.tokens is None:
            return problem(
                401, "user or password is wrong", {"WWW-Authenticate": 'Basic realm="sandbox"'}
            )
        why = "the token is wrong or has expired" if authorization else "Authorization is missing"
        return problem(401, why, {"WWW-Authenticate": 'Bearer error="invalid_token"'})

    def _is_token(self, token: str, now: float) -> bool:
        if self._bearer is not None and is_same(token, self._bearer):
            return True
        return self.tokens is not None and self.tokens.is_good(token, now)


def _are_same(given: tuple[str, str], expected: tuple[str, str]) -> bool:
    return all(is_same(*pair) for pair in zip(given, expected, strict=True))

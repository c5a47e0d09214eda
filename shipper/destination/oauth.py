"""The access token of one destination: OAuth 2.0 client credentials.

It decides when a token is fetched: one fetch for everything that waits, and never one an event. A
token must never leave memory, and never be shown. Times are in seconds of the clock, which goes on
while the machine sleeps.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final, TypeAlias

from shipper import __version__
from shipper.destination.build import opener, parse_url
from shipper.destination.faults import FAILURES, Peer, fault
from shipper.destination.grant import Credentials, Token, token_of
from shipper.destination.request import Answer, MadeRequest, Request, Target, Transport
from shipper.destination.tls import Trust
from shipper.policy.outcome import Fault, FaultKind, UnderWay

Fetched: TypeAlias = Callable[[str | Fault | Exception], None]
"""Takes a token, or why there is none; any other exception is a bug."""

# A token is renewed so long before its end, or at this part of its life, whichever is earlier.
_AHEAD: Final = 60.0
_USED: Final = 0.9
# But not before this part: of a token that lives for a minute, 60 seconds ahead would be at once.
_LEAST_USED: Final = 0.5
# A renewal that failed is tried again after this part of what is left of the present token's life.
_AGAIN: Final = 0.1


class TokenSource:
    """Fetches tokens from one endpoint. Belongs to the event loop that first asks; close it there.

    `timeout` is in seconds for a whole fetch. `trust` can have an own certificate, for an endpoint
    that asks for one. After a fetch that failed, or brought a token that the API refuses, the next
    one waits for `pause` seconds. Raises ConfigError if the arguments can't work.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        pause: float,
        trust: Trust,
        proxy: str | None,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        parsed = parse_url("the token_url", url, {"http", "https"})
        self._target = Target(parsed.copy_with(fragment=None), f"shipper/{__version__}")
        self._pause = pause
        self._proxied = proxy is not None
        self._peer = Peer.of(parsed, timeout, proxy)
        self._clock = clock
        self._wall = wall
        self._open = opener(
            parsed,
            limit=1,
            timeout=timeout,
            trust=trust,
            proxy=proxy,
            choice="auto",
            clock=clock,
        )
        self._transport: Transport | None = None
        self._request: Request | None = None
        self._waiting: list[_Wait] = []
        self._token: str | None = None
        self._fetched = -inf
        self._renews = self._ends = inf
        self._failure: Fault | None = None
        self._failed = -inf
        self._asked_for: Credentials | None = None

    @property
    def where(self) -> str:
        """The host and the port of the token endpoint."""
        return self._peer.name

    def token(self, credentials: Credentials) -> str | None:
        """Return the present token; None if there is none that can be used.

        If it ends soon, this begins to fetch the next one: the present one is used until then.
        """
        if self._token is None:
            return None
        now = self._clock()
        if now >= self._ends:
            self._token = None
        elif now >= self._renews and self._is_allowed(credentials, now):
            self._ask(credentials)
        return self._token

    def fetch(self, credentials: Credentials, done: Fetched) -> UnderWay:
        """Let `done` have a token: the one that is being fetched, or the next one.

        A failure is remembered for the pause; it is the answer until then. `done` is called exactly
        once, after `fetch` has returned; not if it is cancelled.
        """
        if self._failure is not None and not self._is_allowed(credentials, self._clock()):
            return asyncio.get_running_loop().call_soon(done, self._failure)
        wait = _Wait(done, self._waiting)
        self._waiting.append(wait)
        self._ask(credentials)
        return wait

    def drop(self, token: str) -> bool:
        """Forget a token that the API refuses; return whether it is worth to ask for another.

        It isn't if this one was fetched a moment ago: the API refuses whatever the endpoint gives.
        Then the token is kept for a while, so that not each event fetches.
        """
        if token != self._token:
            return True  # another try has dropped it before
        if self._clock() < self._fetched + self._pause:
            return False
        self._token = None
        return True

    async def aclose(self) -> None:
        """Close the connection; a fetch that is under way ends with a fault."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def _is_allowed(self, credentials: Credentials, now: float) -> bool:
        # New credentials may work at once.
        return now >= self._failed + self._pause or credentials != self._asked_for

    def _ask(self, credentials: Credentials) -> None:
        if self._request is not None:
            return
        if self._transport is None:
            self._transport = self._open()
        self._asked_for = credentials
        path = self._target.url.raw_path.decode("ascii")
        request = MadeRequest(self._target, path, self._fields(credentials), credentials.body)
        self._request = self._transport.begin(
            request, partial(self._answered, request, self._clock())
        )

    def _fields(self, credentials: Credentials) -> dict[str, str]:
        fields = {
            **self._target.fields(""),
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
        }
        if credentials.authorization:
            fields["authorization"] = credentials.authorization
        return fields

    def _answered(self, request: Request, asked: float, answer: Answer) -> None:
        self._request = None
        found = self._judged(request, answer)
        if isinstance(found, Token):
            self._keep(found, asked)
        elif isinstance(found, Fault):
            now = self._clock()
            self._failure, self._failed = found, now
            self._renews = now + (self._ends - now) * _AGAIN
        waiting = tuple(self._waiting)
        self._waiting.clear()
        for wait in waiting:
            wait.settle(found.text if isinstance(found, Token) else found)

    def _judged(self, request: Request, answer: Answer) -> Token | Fault | Exception:
        if not isinstance(answer, Exception):
            return token_of(answer, self._wall(), self._peer.name)
        if not isinstance(answer, FAILURES):
            return answer
        found = fault(
            answer,
            begun=request.begun,
            proxied=self._proxied,
            peer=self._peer,
            stage=request.stage,
        )
        # Whatever the endpoint has got: the API has no event.
        kind: FaultKind = "tls" if found.kind == "tls" else "token"
        return Fault(kind, "no", f"no token: {found.detail}")

    def _keep(self, token: Token, asked: float) -> None:
        """Keep a token; its life is counted from the moment before the endpoint was asked."""
        self._token, self._failure, self._fetched = token.text, None, self._clock()
        # A token that lives for less than the pause would be fetched for each event.
        life = inf if token.seconds is None else max(token.seconds, self._pause)
        used = max(min(life * _USED, life - _AHEAD), life * _LEAST_USED)
        self._renews, self._ends = asked + used, asked + life


class _Wait:
    """Something that waits for a token."""

    def __init__(self, done: Fetched, waiting: "list[_Wait]") -> None:
        self._done: Fetched | None = done
        self._waiting = waiting

    def settle(self, found: str | Fault | Exception) -> None:
        """Report what was found; not if the wait was cancelled, maybe by the one before it."""
        if self._done is not None:
            self._done(found)

    def cancel(self) -> None:
        """Wait no longer; the fetch goes on."""
        self._done = None
        if self in self._waiting:
            self._waiting.remove(self)

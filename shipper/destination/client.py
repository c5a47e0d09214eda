"""A destination: one URL, one pool of connections, one deadline for a whole try.

`form` decides what a request contains, and `token_try` when it is sent again with another access
token. It reports one Reply or Fault for a try. It must never raise because of the network or an
event, follow a redirect, unpack an answer, keep a cookie, or read a proxy from the environment.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from typing import Final, Self, TypeAlias

from shipper.clock import Clock, SystemClock
from shipper.config import DestinationSettings
from shipper.config.secrets import Secrets
from shipper.config.template import Unbuildable
from shipper.destination.build import TransportChoice, opener
from shipper.destination.faults import FAILURES, Peer, fault
from shipper.destination.form import Form, Unsendable, form_of
from shipper.destination.grant import Credentials
from shipper.destination.oauth import TokenSource
from shipper.destination.own_certificate import ShownCertificate, own_certificate
from shipper.destination.request import Answer, Request, Transport, awaited
from shipper.destination.signature import clock_fault
from shipper.destination.tls import Trust
from shipper.destination.token_try import TokenTry
from shipper.policy.event import Event
from shipper.policy.outcome import TABLE, Answers, Fault, Invalid, Reply, Report, UnderWay, accepted

_Make: TypeAlias = Callable[[Event, Secrets], Request]
_Begin: TypeAlias = Callable[[_Make, Event, Secrets, Report, float], UnderWay]
_Doubt: TypeAlias = Callable[[Reply], Fault | None]
_BY_THE_SYSTEM: Final = Trust()
_NO_CLIENT: Final = Credentials("", "")
# Seconds. The destination's own pauses can be minutes; so long a token would be used after its end.
_TOKEN_PAUSE: Final = 1.0


class Destination:
    """Sends events to one origin. Belongs to the event loop that first sends; close it there.

    `timeout` is in seconds for a whole try: waiting for a connection, the name lookup, connecting,
    writing, and reading. At most `max_in_flight` tries run at the same time; the others wait.
    The transport `auto` is shipper's own HTTP client; it is that of httpx if there is a proxy or
    httptools is missing. `clock` (in seconds, by default the loop's) is the one that `begin` means.
    `shown` is the certificate that `trust` holds. Each of `doubts` says what else an answer can
    mean: the fault, or None. With `tokens`, each request bears one, which are for the `client`;
    `answers` then says which answer accepts an event. Raises ConfigError if the arguments can't
    work.
    """

    def __init__(  # noqa: PLR0913 - one for each part
        self,
        form: Form,
        *,
        timeout: float,
        max_in_flight: int,
        trust: Trust = _BY_THE_SYSTEM,
        proxy: str | None = None,
        transport: TransportChoice = "auto",
        clock: Callable[[], float] | None = None,
        shown: ShownCertificate | None = None,
        doubts: tuple[_Doubt, ...] = (),
        tokens: TokenSource | None = None,
        client: Credentials = _NO_CLIENT,
        answers: Answers = TABLE,
    ) -> None:
        self._form = form
        self._proxied = proxy is not None
        self._peer = Peer.of(form.url, timeout, proxy)
        self._open = opener(
            form.url,
            limit=max_in_flight,
            timeout=timeout,
            trust=trust,
            proxy=proxy,
            choice=transport,
            clock=clock,
        )
        self._timeout = timeout
        self._transport: Transport | None = None
        self._tokens = tokens
        self._begin: _Begin = self._send if tokens is None else self._begin_with_token
        self._client = client
        self._answers = answers
        self._shown = shown
        self._doubts = doubts

    @classmethod
    def of(
        cls,
        settings: DestinationSettings,
        *,
        max_in_flight: int | None = None,
        timeout: float | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """Return the client of a configured destination, with other limits where given.

        Raises ConfigError, for instance if a file of a certificate can't be used.
        """
        clock = clock or SystemClock()
        timeout = settings.timeout if timeout is None else timeout
        own = own_certificate(settings)
        trust = Trust(settings.ca_file, own)
        shown, doubts = None, list[_Doubt]()
        if own is not None:
            shown = ShownCertificate(own, clock.wall)
            doubts.append(shown.refusal)
        if settings.sign.scheme:
            doubts.append(partial(clock_fault, clock.wall))
        tokens, auth = None, settings.auth
        if auth.type == "oauth2":
            tokens = TokenSource(
                auth.token_url,
                timeout=timeout,
                pause=min(settings.retry.min_delay, _TOKEN_PAUSE),
                trust=trust,
                proxy=settings.proxy,
                clock=clock.monotonic,
                wall=clock.wall,
            )
        return cls(
            form_of(settings, clock.wall),
            timeout=timeout,
            max_in_flight=max_in_flight or settings.max_in_flight,
            trust=trust,
            proxy=settings.proxy,
            transport=settings.transport,
            clock=clock.monotonic,
            shown=shown,
            doubts=tuple(doubts),
            tokens=tokens,
            client=Credentials(auth.client_id, "", auth.scope, auth.audience, auth.client_auth),
            answers=settings.answers.table(),
        )

    @property
    def where(self) -> str:
        """The host and the port that events go to."""
        return self._peer.name

    @property
    def can_validate(self) -> bool:
        """Whether the destination has somewhere to let an event be validated."""
        return self._form.can_validate

    def begin(self, event: Event, secrets: Secrets, done: Report, until: float = inf) -> UnderWay:
        """Begin to send an event once; `done` gets the answer or what went wrong.

        No byte of it leaves if the try's deadline would then be later than `until`, in the time of
        the clock: such a try ends as one that wasn't sent in time. `done` is called exactly once,
        after `begin` has returned; not if the try is cancelled. An exception is a bug of the
        program.
        """
        return self._begin(self._form.request, event, secrets, done, until)

    async def validate(self, event: Event, secrets: Secrets) -> Reply | Fault | Invalid:
        """Let the destination validate an event without accepting it, if it `can_validate`."""
        ask = partial(self._begin, self._form.validation, event, secrets)
        return await awaited(lambda done: ask(done, inf))

    async def why_no_token(self, secrets: Secrets) -> Fault | None:
        """Fetch an access token and return why there is none; None as well if none is needed."""
        if self._tokens is None:
            return None
        fetch = partial(self._tokens.fetch, self._credentials(secrets))
        found = await awaited(fetch)
        return found if isinstance(found, Fault) else None

    async def aclose(self) -> None:
        """Close all connections; a try that is under way ends with a fault."""
        transport, self._transport = self._transport, None
        if self._tokens is not None:
            await self._tokens.aclose()
        if transport is not None:
            await transport.aclose()

    def _begin_with_token(
        self, make: _Make, event: Event, secrets: Secrets, done: Report, until: float
    ) -> UnderWay:
        assert self._tokens is not None

        def send(token: str, due: float, answered: Report) -> UnderWay:
            return self._send(make, event, replace(secrets, token=token), answered, until, due)

        credentials = self._credentials(secrets)
        due = asyncio.get_running_loop().time() + self._timeout
        is_event = make == self._form.request
        is_kept = self._is_kept if is_event else _is_read
        return TokenTry(self._tokens, credentials, send, done, due, is_kept)

    def _is_kept(self, reply: Reply) -> bool:
        """Return whether something of an answer gets into the history: not if it accepts."""
        return accepted(reply, self._answers) is None

    def _credentials(self, secrets: Secrets) -> Credentials:
        return self._client._replace(secret=secrets.client_secret)

    def _send(
        self,
        make: _Make,
        event: Event,
        secrets: Secrets,
        done: Report,
        until: float,
        due: float = inf,
    ) -> UnderWay:
        try:
            request = make(event, secrets)
        except Unbuildable as error:
            return _soon(done, Invalid("unbuildable", str(error)))
        except Unsendable as error:
            # Not Invalid: that would make every event a dead letter because of a secret.
            return _soon(done, Fault("unreachable", "no", str(error)))
        if self._shown is not None and (why := self._shown.why_not()) is not None:
            return _soon(done, Fault("tls", "no", why))
        request.until, request.due = until, due
        if self._transport is None:
            self._transport = self._open()
        return self._transport.begin(request, partial(self._answered, request, done))

    def _answered(
        self,
        request: Request,
        done: Callable[[Reply | Fault | Exception], None],
        answer: Answer,
    ) -> None:
        if isinstance(answer, FAILURES):
            done(
                fault(
                    answer,
                    begun=request.begun,
                    proxied=self._proxied,
                    peer=self._peer,
                    stage=request.stage,
                )
            )
        elif isinstance(answer, Exception) or not self._doubts:
            done(answer)
        else:
            found = (doubt(answer) for doubt in self._doubts)
            done(next(filter(None, found), answer))


def _is_read(reply: Reply) -> bool:
    """Return that a person sees an answer, which is so for each one about a validation."""
    del reply
    return True


def _soon(done: Report, answer: Fault | Invalid) -> UnderWay:
    return asyncio.get_running_loop().call_soon(done, answer)

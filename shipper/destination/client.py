"""A destination: one URL, one pool of connections, one deadline for a whole try.

`form` decides what a request contains. It reports one Reply or Fault for it. It must never raise
because of the network or an event, send a request twice, follow a redirect, unpack an answer, keep
a cookie, or read a proxy from the environment.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Self

from shipper.config import DestinationSettings
from shipper.config.secrets import Secrets
from shipper.config.template import Unbuildable
from shipper.destination.build import TransportChoice, opener
from shipper.destination.faults import FAILURES, Peer, fault
from shipper.destination.form import Form, Unsendable, form_of
from shipper.destination.request import Answer, Request, Transport, awaited
from shipper.policy.event import Event
from shipper.policy.outcome import Fault, Invalid, Reply, Report, UnderWay


class Destination:
    """Sends events to one origin. Belongs to the event loop that first sends; close it there.

    `timeout` is in seconds for a whole try: waiting for a connection, the name lookup, connecting,
    writing, and reading. At most `max_in_flight` tries run at the same time; the others wait.
    `ca_file` is trusted in addition to the system's authorities. The transport `auto` is shipper's
    own HTTP client; it is that of httpx if there is a proxy or httptools is missing. `clock` (in
    seconds, by default the loop's) is the one that `begin` means. Raises ConfigError if the
    arguments can't work.
    """

    def __init__(
        self,
        form: Form,
        *,
        timeout: float,
        max_in_flight: int,
        ca_file: Path | None = None,
        proxy: str | None = None,
        transport: TransportChoice = "auto",
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._form = form
        self._proxied = proxy is not None
        self._peer = Peer.of(form.url, timeout, proxy)
        self._open = opener(
            form.url,
            limit=max_in_flight,
            timeout=timeout,
            ca_file=ca_file,
            proxy=proxy,
            choice=transport,
            clock=clock,
        )
        self._transport: Transport | None = None

    @classmethod
    def of(
        cls,
        settings: DestinationSettings,
        *,
        max_in_flight: int | None = None,
        timeout: float | None = None,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Return the client of a configured destination, with other limits where given."""
        return cls(
            form_of(settings),
            timeout=settings.timeout if timeout is None else timeout,
            max_in_flight=max_in_flight or settings.max_in_flight,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
            transport=settings.transport,
            clock=clock,
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

    async def aclose(self) -> None:
        """Close all connections; a try that is under way ends with a fault."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def _begin(
        self,
        make: Callable[[Event, Secrets], Request],
        event: Event,
        secrets: Secrets,
        done: Report,
        until: float,
    ) -> UnderWay:
        try:
            request = make(event, secrets)
        except Unbuildable as error:
            return _soon(done, Invalid("unbuildable", str(error)))
        except Unsendable as error:
            # Not Invalid: that would make every event a dead letter because of a secret.
            return _soon(done, Fault("unreachable", "no", str(error)))
        request.until = until
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
        else:
            done(answer)


def _soon(done: Report, answer: Fault | Invalid) -> UnderWay:
    return asyncio.get_running_loop().call_soon(done, answer)

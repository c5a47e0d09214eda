"""A destination: one URL, one pool of connections, one deadline for a whole try.

It decides what a request contains, and reports one Reply or Fault for it. It must never raise
because of the network or an event, send a request twice, follow a redirect, unpack an answer, keep
a cookie, or read a proxy from the environment.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Self
from urllib.parse import quote_from_bytes

import httpx

from shipper import __version__
from shipper.config import DestinationSettings
from shipper.destination.build import TransportChoice, opener, parse_url
from shipper.destination.faults import FAILURES, Peer, fault
from shipper.destination.request import Answer, Request, Target, Transport, awaited
from shipper.destination.tls import Trust
from shipper.errors import ConfigError
from shipper.policy.outcome import Fault, Invalid, Reply, Report, UnderWay

# Visible ASCII without '%': quote_from_bytes encodes all other characters, and '%' starts a code.
_VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_AS_IT_IS = re.compile(f"[{re.escape(_VISIBLE)}]*")
_SENDABLE = re.compile(r"[\x20-\x7e]*")


class Destination:
    """Sends events to one URL. Belongs to the event loop that first sends; close it there.

    `timeout` is in seconds for a whole try: waiting for a connection, the name lookup, connecting,
    writing, and reading. At most `max_in_flight` tries run at the same time; the others wait.
    `ca_file` is trusted in addition to the system's authorities. The transport `auto` is shipper's
    own HTTP client; it is that of httpx if there is a proxy or httptools is missing. `clock` (in
    seconds, by default the loop's) is the one that `begin` means. Raises ConfigError if the
    arguments can't work.
    """

    def __init__(
        self,
        *,
        url: str,
        timeout: float,
        max_in_flight: int,
        ca_file: Path | None = None,
        proxy: str | None = None,
        transport: TransportChoice = "auto",
        clock: Callable[[], float] | None = None,
    ) -> None:
        events, user_agent = _parse(url), f"shipper/{__version__}"
        self._events = Target(events, user_agent)
        self._validation = Target(_below(events, b"/validate"), user_agent)
        self._proxied = proxy is not None
        self._peer = Peer.of(events, timeout, proxy)
        self._open = opener(
            events,
            limit=max_in_flight,
            timeout=timeout,
            trust=Trust(ca_file),
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
            url=settings.url,
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

    def begin(
        self, event_id: str, payload: bytes, api_id: str, done: Report, until: float = inf
    ) -> UnderWay:
        """Begin to send an event once; `done` gets the answer or what went wrong.

        No byte of it leaves if the try's deadline would then be later than `until`, in the time of
        the clock: such a try ends as one that wasn't sent in time. `done` is called exactly once,
        after `begin` has returned; not if the try is cancelled. An exception is a bug of the
        program.
        """
        try:
            key = idempotency_key(event_id)
        except UnicodeEncodeError:
            why = "the event id holds a character that UTF-8 can't write"
            return asyncio.get_running_loop().call_soon(done, Invalid("unbuildable", why))
        request = Request(self._events, api_id, key, payload)
        request.until = until
        return self._begin(request, done)

    async def send(self, event_id: str, payload: bytes, api_id: str) -> Reply | Fault | Invalid:
        """Send an event once, and return the answer or what went wrong."""
        return await awaited(partial(self.begin, event_id, payload, api_id))

    async def validate(self, payload: bytes, api_id: str) -> Reply | Fault:
        """Let the destination validate a payload without accepting it."""
        request = Request(self._validation, api_id, None, payload)
        return await awaited(partial(self._begin, request))

    async def aclose(self) -> None:
        """Close all connections; a try that is under way ends with a fault."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def _begin(
        self, request: Request, done: Callable[[Reply | Fault | Exception], None]
    ) -> UnderWay:
        if not _SENDABLE.fullmatch(request.api_id):
            # Not Invalid: that would make every event a dead letter because of the API ID.
            why = "the API ID holds a character that can't be sent"
            return asyncio.get_running_loop().call_soon(done, Fault("unreachable", "no", why))
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


def idempotency_key(event_id: str) -> str:
    """Return an event id as a header value: visible ASCII, everything else percent-encoded UTF-8.

    Bytes that weren't UTF-8 when the id was read (surrogateescape) are encoded as these bytes.
    Raises UnicodeEncodeError for any other lone surrogate.
    """
    if _AS_IT_IS.fullmatch(event_id):
        return event_id
    return quote_from_bytes(event_id.encode("utf-8", "surrogateescape"), safe=_VISIBLE)


def _parse(url: str) -> httpx.URL:
    parsed = parse_url("the destination's url", url, {"http", "https"})
    if parsed.userinfo:
        raise ConfigError(["the destination's url must not hold a user name or a password"])
    return parsed.copy_with(fragment=None)


def _below(url: httpx.URL, path: bytes) -> httpx.URL:
    # The raw path: the decoded path doesn't show which slashes were written as %2F.
    before, mark, query = url.raw_path.partition(b"?")
    return url.copy_with(raw_path=before.rstrip(b"/") + path + mark + query)

"""Requests to a webhook or a heartbeat URL.

It decides the head of such a request. It must never send an API ID or an event, follow a redirect,
or show the URL, which is a secret as a whole.
"""

from pathlib import Path
from typing import Literal

from shipper import __version__
from shipper.destination.build import opener, parse_url
from shipper.destination.faults import FAILURES, Peer, fault
from shipper.destination.request import Request, Target, Transport, post
from shipper.destination.tls import Trust
from shipper.policy.outcome import Fault, Reply


class Hook:
    """Sends requests to one URL, one at a time. Belongs to the event loop that first sends.

    `timeout` is in seconds for a whole request. Raises ConfigError if the arguments can't work.
    """

    def __init__(
        self,
        url: str,
        method: Literal["GET", "POST"],
        *,
        timeout: float,
        ca_file: Path | None,
        proxy: str | None,
    ) -> None:
        parsed = parse_url("the url", url, {"http", "https"})
        self._target = Target(parsed, f"shipper/{__version__}", method)
        self._proxied = proxy is not None
        self._peer = Peer.secret(parsed, timeout, proxy)
        self._open = opener(
            parsed, limit=1, timeout=timeout, trust=Trust(ca_file), proxy=proxy, choice="auto"
        )
        self._transport: Transport | None = None

    async def send(self, body: bytes = b"") -> Reply | Fault:
        """Send one request, and return the answer or what went wrong."""
        if self._transport is None:
            self._transport = self._open()
        request = Request(self._target, "", None, body)
        try:
            # A redirect may name the URL's path.
            return (await post(self._transport, request))._replace(location=None)
        except FAILURES as error:
            return fault(
                error,
                begun=request.begun,
                proxied=self._proxied,
                peer=self._peer,
                stage=request.stage,
            )

    async def aclose(self) -> None:
        """Close the connection; a request that is under way ends with a fault."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

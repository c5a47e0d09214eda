"""Which transport a destination uses: shipper's own, or that of httpx.

It must never decide which certificates are trusted: `tls` does.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import httpx

from shipper.destination.request import Transport
from shipper.destination.tls import Trust, tls_context
from shipper.errors import ConfigError
from shipper.system.installation import with_packages

TransportChoice = Literal["auto", "httpx"]

# If the receiver closes an idle connection at the moment of a request, the outcome of the try is
# unknown. Most receivers keep an idle connection for a minute, some for 20 seconds.
KEEPALIVE_SECONDS = 15.0

_PLAIN = {"http", "https"}
_SOCKS = {"socks5", "socks5h"}


def opener(
    url: httpx.URL,
    *,
    limit: int,
    timeout: float,
    trust: Trust,
    proxy: str | None,
    choice: TransportChoice,
    clock: Callable[[], float] | None = None,
) -> Callable[[], Transport]:
    """Return a function that opens a transport to a URL in the running loop; raises ConfigError."""
    if proxy is not None:
        _check(proxy)
    tls = tls_context(trust.ca_file, trust.own)

    def open_ours() -> Transport:
        from shipper.destination.transport import FastTransport  # noqa: PLC0415 - its wheel may be missing

        return FastTransport(
            url,
            limit=limit,
            timeout=timeout,
            keepalive=KEEPALIVE_SECONDS,
            tls=tls,
            clock=clock,
        )

    def open_stock() -> Transport:
        from shipper.destination.httpx_transport import HttpxTransport  # noqa: PLC0415 - most use only our own

        return HttpxTransport(
            limit=limit,
            timeout=timeout,
            keepalive=KEEPALIVE_SECONDS,
            tls=tls,
            # A proxy isn't the one that the certificate is for.
            proxy=None if proxy is None else (proxy, tls_context(trust.ca_file)),
            clock=clock,
        )

    ours = choice == "auto" and proxy is None and find_spec("httptools") is not None
    return open_ours if ours else open_stock


def parse_url(name: str, text: str, schemes: set[str]) -> httpx.URL:
    """Parse a URL with one of the schemes and a host; raises ConfigError."""
    try:
        url = httpx.URL(text)
        # A resolver does this first. It fails for an empty label and for one above 63 bytes.
        url.raw_host.decode("ascii").encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        raise ConfigError([f"{name} isn't a valid URL"]) from None
    if not 0 < (url.port or 1) < 2**16:
        raise ConfigError([f"{name} has a port that doesn't exist"])
    if url.scheme not in schemes or not url.host:
        raise ConfigError([f"{name} must have a host and begin with {_either(schemes)}"])
    return url


def _either(schemes: set[str]) -> str:
    return " or ".join(f"{scheme}://" for scheme in sorted(schemes))


def _check(proxy: str) -> None:
    scheme = parse_url("the proxy's url", proxy, _PLAIN | _SOCKS).scheme
    if scheme in _SOCKS and find_spec("socksio") is None:
        fix = with_packages("httpx[socks]")
        raise ConfigError(["a SOCKS proxy needs the package socksio"], fix)

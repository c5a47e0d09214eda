"""Which way a destination's events take.

It decides between ours and the stock one of httpx. It must never decide what is trusted: `tls`.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import httpx

from shipper.destination.request import Transport
from shipper.destination.tls import tls_context
from shipper.errors import ConfigError
from shipper.system.installation import with_packages

Choice = Literal["auto", "httpx"]

# An idle connection that the receiver has closed meanwhile costs a try of unknown outcome, and
# receivers commonly keep one for a minute, some for 20 seconds.
KEEPALIVE_SECONDS = 15.0

_PLAIN = {"http", "https"}
_SOCKS = {"socks5", "socks5h"}


def opener(
    url: httpx.URL,
    *,
    limit: int,
    timeout: float,
    ca_file: Path | None,
    proxy: str | None,
    choice: Choice,
) -> Callable[[], Transport]:
    """Return what opens a way to a URL, within the running loop; raises ConfigError."""
    if proxy is not None:
        _check(proxy)
    tls = tls_context(ca_file)

    def open_ours() -> Transport:
        from shipper.destination.transport import FastTransport  # noqa: PLC0415 - not where there's no wheel

        return FastTransport(
            url, limit=limit, timeout=timeout, keepalive=KEEPALIVE_SECONDS, tls=tls
        )

    def open_stock() -> Transport:
        from shipper.destination.httpx_transport import HttpxTransport  # noqa: PLC0415 - most need only ours

        return HttpxTransport(
            limit=limit, timeout=timeout, keepalive=KEEPALIVE_SECONDS, tls=tls, proxy=proxy
        )

    ours = choice == "auto" and proxy is None and find_spec("httptools") is not None
    return open_ours if ours else open_stock


def parse_url(name: str, text: str, schemes: set[str]) -> httpx.URL:
    """Return a URL with one of the schemes and a host that can be looked up; raises ConfigError."""
    try:
        url = httpx.URL(text)
        # What a resolver would do first, and fail at for an empty label or one beyond 63 bytes.
        url.raw_host.decode("ascii").encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        raise ConfigError([f"{name} isn't one that can be reached"]) from None
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

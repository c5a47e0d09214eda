"""The name and the certificate of a destination, for `doctor`: no event is sent.

It decides nothing about what it finds. It must never send a request, or trust a certificate that a
`Destination` doesn't trust.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx

from shipper.destination.own_certificate import OwnCertificate
from shipper.destination.request import certified
from shipper.destination.resolve import is_this_machine, loopback
from shipper.destination.tls import tls_context


@dataclass(frozen=True, slots=True)
class Origin:
    """The host and port of a URL, and whether it is https."""

    host: str
    port: int
    encrypted: bool

    @property
    def where(self) -> str:
        """Return host and port, as every message names them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Return the origin of a URL that was checked when the configuration was read."""
    parsed = httpx.URL(url)
    encrypted = parsed.scheme == "https"
    port = parsed.port or (443 if encrypted else 80)
    return Origin(parsed.raw_host.decode("ascii"), port, encrypted)


async def addresses(origin: Origin) -> list[str]:
    """Return the addresses of a name, each once; raises OSError, as the system's resolver does."""
    if is_this_machine(origin.host):
        return [str(place[0]) for _, place in loopback(origin.port)]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(origin.host, origin.port, proto=6)  # TCP
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


async def certificate_ends(
    origin: Origin, ca_file: Path | None, own: OwnCertificate | None = None
) -> float:
    """Return until when the certificate there is valid, in seconds since 1970.

    It shows its `own` certificate if it is asked for one. Raises ssl.SSLError if that there isn't
    trusted, OSError if nothing answers, ConfigError if a file can't be used.
    """
    context, name = tls_context(ca_file, own), certified(origin.host)
    _, writer = await asyncio.open_connection(
        origin.host, origin.port, ssl=context, server_hostname=name
    )
    try:
        certificate = writer.get_extra_info("peercert")
        return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
    finally:
        writer.transport.abort()  # a TLS shutdown would wait for the other side

"""Which certificates are trusted: those of the system's authorities, and those of a file.

It decides this for every connection, and in the same way on every Python. It must never verify less
than curl does: names, dates, signatures and their strength are checked as OpenSSL does by default.
"""

import ssl
from pathlib import Path
from typing import Final, NamedTuple

from shipper.destination.own_certificate import OwnCertificate
from shipper.errors import ConfigError

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DER: Final = b"\x30"  # a SEQUENCE; a file in PEM begins with text


class Trust(NamedTuple):
    """Whom a client trusts beside the system's authorities, and what it shows of itself."""

    ca_file: Path | None = None
    own: OwnCertificate | None = None


def tls_context(ca_file: Path | None, own: OwnCertificate | None = None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and those of a file.

    It shows its `own` certificate to a receiver that asks for one. Raises ConfigError. It differs
    from what `create_default_context` returns in three points:

    - It ignores $SSLKEYLOGFILE. With the keys in that file, its readers could decrypt the API ID.
    - VERIFY_X509_STRICT is off on every Python; 3.13 sets it. It refuses authorities without the
      key identifiers, key usage or critical mark that RFC 5280 asks for. The authorities of many
      shops and appliances lack them (cpython 107361, urllib3 3665); browsers, curl and Python 3.12
      accept them.
    - VERIFY_X509_PARTIAL_CHAIN is on on every Python; 3.13 sets it. As with curl, an intermediate
      authority or the receiver's own certificate can be trusted.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # this protocol checks names and certificates
    context.load_default_certs()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        _trust(context, ca_file)
    if own is not None:
        own.show(context)
    return context


def knows_authorities() -> bool:
    """Return whether the system has any authorities: a small container image may have none."""
    if ssl.create_default_context().cert_store_stats()["x509"]:
        return True
    directory = ssl.get_default_verify_paths().capath  # None if it is missing
    return bool(directory) and any(Path(directory).iterdir())


def _trust(context: ssl.SSLContext, file: Path) -> None:
    try:
        content = file.read_bytes()
        if content.startswith(_DER):
            context.load_verify_locations(cadata=content)
        elif content.startswith(_BYTE_ORDER_MARK):
            # OpenSSL would skip the first certificate after the mark, without an error.
            text = content.decode("ascii", "ignore")
            context.load_verify_locations(cadata=text)
        else:
            context.load_verify_locations(file)
    except OSError as error:
        # SSLError is one of them; the text of OpenSSL would name its functions.
        is_ssl = isinstance(error, ssl.SSLError)
        reason = (
            "holds no certificate, or one that can't be read" if is_ssl else _of_the_system(error)
        )
        hint = "it takes certificates in PEM form, -----BEGIN CERTIFICATE-----" if is_ssl else None
        raise ConfigError([f"ca_file {file}: {reason}"], hint, "ca_file") from None


def _of_the_system(error: OSError) -> str:
    return error.strerror or "can't be read"

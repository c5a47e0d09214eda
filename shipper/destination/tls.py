"""What is trusted when a destination shows its certificate: the system's authorities, and a file's.

It decides once for every connection of ours, and the same on every Python. It must never verify
less than curl does: names, dates, signatures and their strength stay with OpenSSL's defaults.
"""

import ssl
from pathlib import Path
from typing import Final

from shipper.errors import ConfigError

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DER: Final = b"\x30"  # a SEQUENCE; a file in PEM begins with text


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return what is trusted: the system's authorities, and those of a file; raises ConfigError.

    Python 3.13 set two flags in `create_default_context`. VERIFY_X509_STRICT refuses authorities
    without key identifiers, key usage or a critical mark, which RFC 5280 asks for. Those of many
    shops and appliances lack them (cpython 107361, urllib3 3665); browsers, curl and Python 3.12
    don't mind. VERIFY_X509_PARTIAL_CHAIN lets an intermediate authority, or a receiver's very
    certificate, be what is trusted, as curl does. So the first is cleared, and the second set.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        _trust(context, ca_file)
    return context


def knows_authorities() -> bool:
    """Return whether the system has any: a small container image may have none."""
    if ssl.create_default_context().cert_store_stats()["x509"]:
        return True
    directory = ssl.get_default_verify_paths().capath  # None where there is none
    return bool(directory) and any(Path(directory).iterdir())


def _trust(context: ssl.SSLContext, file: Path) -> None:
    try:
        content = file.read_bytes()
        if content.startswith(_DER):
            context.load_verify_locations(cadata=content)
        elif content.startswith(_BYTE_ORDER_MARK):
            # OpenSSL would not see the first certificate behind it, and say nothing.
            text = content.decode("ascii", "ignore")
            context.load_verify_locations(cadata=text)
        else:
            context.load_verify_locations(file)
    except OSError as error:
        # Of which SSLError is one; OpenSSL's own words name its functions.
        is_ssl = isinstance(error, ssl.SSLError)
        reason = (
            "holds no certificate, or one that can't be read" if is_ssl else _of_the_system(error)
        )
        hint = "it takes certificates in PEM form, -----BEGIN CERTIFICATE-----" if is_ssl else None
        raise ConfigError([f"ca_file {file}: {reason}"], hint) from None


def _of_the_system(error: OSError) -> str:
    return error.strerror or "can't be read"

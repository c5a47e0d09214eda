"""The TLS of the sandbox: its own certificate, and the authority of its clients' certificates."""

import ssl
from pathlib import Path

from shipper.errors import UsageError


def server_context(
    cert_file: Path, key_file: Path | None = None, client_ca: Path | None = None
) -> ssl.SSLContext:
    """Return the TLS of a server; with `client_ca`, clients need a certificate of that authority.

    Without `key_file`, the key is in `cert_file`. Raises UsageError if a file can't be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert_file, key_file, password="")
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(str(path) for path in (cert_file, key_file, client_ca) if path)
        reason = error.strerror or str(error)
        raise UsageError(
            f"the sandbox can't use its certificates ({named}): {reason}",
            "PEM files: a certificate with its key, and the authority of the clients",
        ) from error
    return context

"""The client's own certificate and its key: what a receiver asks for before it accepts an event.

It decides which files can be used. It must never show a part of a key, or ask a terminal for a
password. That a certificate has expired depends on the time, which is an argument.
"""

import os
import re
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from shipper.config.destination import DestinationSettings
from shipper.config.secret import OTHERS_READ
from shipper.errors import ConfigError
from shipper.policy.outcome import Fault, Reply

_BLOCK: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----[\r\n]*", re.DOTALL
)
# More than any chain has. The limit also ends the reading of /dev/zero.
_MAX_BYTES: Final = 1 << 20
# The settings of a destination that name the files.
_CERT: Final = "tls.cert_file"
_KEY: Final = "tls.key_file"
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17


SCARCE_DAYS: Final = 14.0
"""With fewer days left, a certificate should have been renewed."""


# In the title of nginx's page: "The SSL certificate error", "No required SSL certificate was sent".
_NGINX: Final = b"SSL certificate"
_PAGE: Final = 256


class OwnCertificate(NamedTuple):
    """The files of a certificate (PEM, with its chain) and of its key (PEM); both can be one."""

    cert_file: Path
    key_file: Path

    def show(self, context: ssl.SSLContext) -> None:
        """Let a context show the certificate to receivers that ask for one; raises ConfigError."""
        self.ends()
        _read("key_file", self.key_file, private=True)
        encrypted = False

        def password() -> str:
            # Without this, OpenSSL would ask the terminal, and a daemon would wait for ever.
            nonlocal encrypted
            encrypted = True
            return ""

        try:
            context.load_cert_chain(self.cert_file, self.key_file, password)
        except OSError as error:  # SSLError is one of them
            raise self._unusable(error, encrypted=encrypted) from None
        # Some servers ask only when they see the path, as curl allows.
        context.post_handshake_auth = True

    def ends(self) -> float:
        """Return until when the certificate is valid, in seconds since 1970; raises ConfigError."""
        block = _BLOCK.search(_read("cert_file", self.cert_file))
        text = "" if block is None else block[0].decode("ascii", "replace").strip()
        try:
            return _not_after(ssl.PEM_cert_to_DER_cert(text))
        except (ValueError, IndexError):
            raise ConfigError(
                [f"cert_file {self.cert_file}: holds no certificate, or one that can't be read"],
                "it takes a certificate in PEM form, -----BEGIN CERTIFICATE-----",
                _CERT,
            ) from None

    def check(self, wall: float) -> None:
        """Raise ConfigError if the certificate has expired at `wall`, in seconds since 1970."""
        if (ends := self.ends()) <= wall:
            renew = "let the API's operator renew it, and put the new one into the file"
            raise ConfigError([self.expired(ends)], renew, _CERT)

    def expired(self, ends: float) -> str:
        """Return the sentence about a certificate that ended then."""
        day = datetime.fromtimestamp(ends, UTC).date()
        return f"cert_file {self.cert_file}: the certificate has expired on {day}"

    def _unusable(self, error: OSError, *, encrypted: bool) -> ConfigError:
        key = f"key_file {self.key_file}"
        if encrypted:
            return ConfigError(
                [f"{key}: the key is encrypted, and a daemon can't be asked for a password"],
                f"openssl pkey -in {self.key_file} -out NEW writes it without; chmod 600 NEW",
                _KEY,
            )
        reason = getattr(error, "reason", None) or ""
        if "MISMATCH" in reason:
            return ConfigError(
                [f"{key}: the key doesn't belong to the certificate in {self.cert_file}"],
                "put the key of this certificate into the file, and its own certificate first"
                " into the cert_file",
                _KEY,
            )
        if reason.endswith(("_TOO_SMALL", "_TOO_WEAK")):
            words = reason.replace("_", " ").lower()
            return ConfigError(
                [f"cert_file {self.cert_file}: the certificate is too weak: {words}"], None, _CERT
            )
        return ConfigError(
            [f"{key}: holds no key, or one that can't be read"],
            "it takes a key in PEM form, -----BEGIN PRIVATE KEY-----",
            _KEY,
        )


class ShownCertificate:
    """A certificate that a client shows, with a clock in seconds since 1970; raises ConfigError.

    A receiver that doesn't accept it may answer 400, which is an event's own fault by itself. So an
    expired certificate isn't shown, and the answer of nginx counts as a fault of TLS.
    """

    def __init__(self, own: OwnCertificate, wall: Callable[[], float]) -> None:
        self._own = own
        self._ends = own.ends()
        self._wall = wall

    def why_not(self) -> str | None:
        """Return why it isn't shown now; None if it can be."""
        return None if self._wall() < self._ends else self._own.expired(self._ends)

    def refusal(self, reply: Reply) -> Fault | None:
        """Return the fault if an answer means that the receiver doesn't accept the certificate."""
        is_page = reply.content_type.lower().startswith("text/html")
        if reply.status != HTTPStatus.BAD_REQUEST or not is_page:
            return None
        if _NGINX not in reply.body[:_PAGE]:
            return None
        why = f"the receiver doesn't accept the certificate in {self._own.cert_file} (HTTP 400)"
        return Fault("tls", "no", why)


def own_certificate(settings: DestinationSettings) -> OwnCertificate | None:
    """Return the certificate that a configured destination shows; None if it shows none."""
    tls = settings.tls
    if tls.cert_file is None or tls.key_file is None:
        return None
    return OwnCertificate(tls.cert_file, tls.key_file)


def ends_of_all(settings: Iterable[DestinationSettings]) -> dict[str, float]:
    """Return until when each destination's own certificate is valid, in seconds since 1970.

    A file that can't be read now is left out: whatever applies a configuration reports it.
    """
    found = {}
    for each in settings:
        own = own_certificate(each)
        with suppress(ConfigError):
            if own is not None:
                found[each.name] = own.ends()
    return found


def _read(name: str, file: Path, *, private: bool = False) -> bytes:
    setting = f"tls.{name}"
    try:
        if file.exists() and not file.is_file():
            raise ConfigError([f"{name} {file}: is not a file"], setting=setting)
        with file.open("rb") as stream:
            if private and os.fstat(stream.fileno()).st_mode & OTHERS_READ:
                raise ConfigError(
                    [f"{name} {file}: can be read by other users"], f"chmod o= {file}", setting
                )
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            [f"{name} {file}: can't be read: {error.strerror}"],
            "correct the path, and give the daemon's user the right to read the file",
            setting,
        ) from None
    if len(content) > _MAX_BYTES:
        raise ConfigError([f"{name} {file}: is too long"], setting=setting)
    return content


def _not_after(der: bytes) -> float:
    """Return the end of a certificate's validity (RFC 5280, 4.1).

    Python's ssl reads this only of a certificate that a peer has shown. Raises ValueError and
    IndexError.
    """
    _, at, _ = _element(der, 0)  # the certificate
    _, at, _ = _element(der, at)  # what is signed of it
    tag, _, end = _element(der, at)
    if tag == _VERSION:
        _, _, end = _element(der, end)
    for _ in ("signature", "issuer"):
        _, _, end = _element(der, end)
    tag, at, _ = _element(der, end)
    if tag != _SEQUENCE:
        raise ValueError
    _, _, at = _element(der, at)  # not before
    tag, at, end = _element(der, at)
    text = der[at:end].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return the tag of the element at a place, and where its content begins and ends."""
    tag, length, at = der[at], der[at + 1], at + 2
    if length >= 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(der[at : at + size]), at + size
    if at + length > len(der):
        raise ValueError
    return tag, at, at + length

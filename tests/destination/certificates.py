"""Authorities and certificates as shops and appliances really have them, each with its oddity."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    def pem(self) -> bytes:
        """Return the certificate as text."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def der(self) -> bytes:
        """Return the certificate as bytes."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def key_pem(self) -> bytes:
        """Return the key as text."""
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(
            serialization.Encoding.PEM, form, serialization.NoEncryption()
        )


def issued(
    by: Holder | None = None,
    *,
    authority: bool | None = False,
    identifiers: bool = False,
    usage: bool = False,
    critical: bool = True,
    names: tuple[str, ...] = ("127.0.0.1", "localhost"),
    common_name: str | None = None,
    days: tuple[int, int] = (-1, 90),
    key: Key | None = None,
) -> Holder:
    """Return a certificate, self-signed without an issuer. `authority` None leaves it out."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    ours = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, common_name or f"test {bool(authority)}")]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(ours)
        .issuer_name(ours if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_name, names))), False)
    issuer = key if by is None else by.key
    if identifiers:
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        of_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
        builder = builder.add_extension(own, False).add_extension(of_issuer, False)
    if usage:
        signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(signs, True)
    return Holder(builder.sign(issuer, hashes.SHA256()), key)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def showing(directory: Path, *chain: Holder) -> ssl.SSLContext:
    """Return what a receiver shows: a certificate, and whatever it sends along."""
    file = directory / "shown.pem"
    file.write_bytes(chain[0].key_pem() + b"".join(holder.pem() for holder in chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # it is the client that has to mind
    context.load_cert_chain(file)
    return context

"""The client's own certificate: shown to a receiver that asks, and refused if it can't be used."""

import asyncio
import os
import pwd
import re
import socket
import ssl
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from shipper.clock import SystemClock
from shipper.config.destination import ClientTlsSettings
from shipper.config.secrets import NO_SECRETS
from shipper.destination.own_certificate import OwnCertificate
from shipper.destination.tls import tls_context
from shipper.errors import ConfigError
from shipper.policy.outcome import Fault, Kind, classify
from tests.destination.certificates import Holder, issued, showing
from tests.destination.http_kind import erp, opened, sent
from tests.destination.servers import ACCEPTED, Talk, accepting, answering, serving
from tests.destination.ways import Way, each_way, words

AUTHORITY = issued(authority=True, common_name="authority")
OURS = issued(AUTHORITY, common_name="shop 42", names=())
EXPIRED = issued(AUTHORITY, common_name="shop 41", names=(), days=(-9, -2))
SERVER = issued(AUTHORITY)
NOW = SystemClock().wall()


def files(directory: Path, holder: Holder, *more: Holder) -> OwnCertificate:
    """Write a certificate with what comes along, and its key."""
    own = OwnCertificate(directory / "own.pem", directory / "own.key")
    own.cert_file.write_bytes(b"".join(each.pem() for each in (holder, *more)))
    own.key_file.write_bytes(holder.key_pem())
    own.key_file.chmod(0o600)
    return own


def asking_for_one(directory: Path) -> ssl.SSLContext:
    """Return how a receiver shows itself that asks for a certificate of the authority."""
    context = showing(directory, SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=AUTHORITY.pem().decode())
    return context


def encrypted(holder: Holder, form: serialization.PrivateFormat) -> bytes:
    """Return a key as text that a password opens."""
    password = serialization.BestAvailableEncryption(b"canary")
    return holder.key.private_bytes(serialization.Encoding.PEM, form, password)


async def told(way: Way, directory: Path, own: OwnCertificate | None) -> tuple[str, list[str]]:
    """Return what comes of a try, and whom the receiver has seen."""
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(AUTHORITY.pem())
    seen: list[str] = []

    async def looking(talk: Talk) -> None:
        peer = talk._writer.get_extra_info("peercert")
        seen.extend(value for part in peer["subject"] for _, value in part)
        await accepting(talk)

    tls = ClientTlsSettings() if own is None else ClientTlsSettings(*own)
    async with serving(looking, asking_for_one(directory)) as server:
        settings = erp(server.url, way.transport, ca_file=ca_file, tls=tls)
        async with opened(settings) as destination:
            return words(await sent(destination, NO_SECRETS)), seen


@each_way
def test_a_receiver_sees_the_certificate_that_it_asks_for(way: Way, tmp_path: Path) -> None:
    """With its chain, where it has one."""
    middle = issued(AUTHORITY, authority=True, common_name="middle")
    below = issued(middle, common_name="shop 43", names=())
    for holder, chain in ((OURS, ()), (below, (middle,))):
        own = files(tmp_path, holder, *chain)
        answer, seen = way_runs(way, lambda own=own: told(way, tmp_path, own))  # type: ignore[misc]
        assert (answer, seen[0]) == ("202", "shop 43" if chain else "shop 42")


def way_runs(way: Way, begin: Callable[[], object]) -> tuple[str, list[str]]:
    """Run something in the loop of a way, and return what it brings."""
    with asyncio.Runner(loop_factory=way.loop) as runner:
        return runner.run(begin())  # type: ignore[arg-type]


def refuse(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Shake hands one time, as OpenSSL does: with an alert, which asyncio's servers forget."""
    peer, _ = listener.accept()
    with peer:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(peer.dup(), server_side=True)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(4096):
            pass


@each_way
@pytest.mark.parametrize("holder", [None, issued(names=())], ids=["none", "other"])
def test_one_that_a_receiver_refuses_pauses_the_link(
    way: Way, holder: Holder | None, tmp_path: Path
) -> None:
    """TLS 1.3 tells it after the first byte; the event may have been received, for all we know."""
    tls = ClientTlsSettings() if holder is None else ClientTlsSettings(*files(tmp_path, holder))
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(AUTHORITY.pem())

    async def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
            refusing = asyncio.to_thread(refuse, listener, asking_for_one(tmp_path))
            async with opened(erp(url, way.transport, ca_file=ca_file, tls=tls)) as destination:
                answer, _ = await asyncio.gather(sent(destination, NO_SECRETS), refusing)
        assert words(answer) == "tls maybe"
        outcome = classify(answer, NOW)
        assert (outcome.kind, outcome.maybe_received) == (Kind.MISCONFIGURED, True)

    way.run(body())


class Later(SystemClock):
    """A clock that a test sets forward."""

    ahead = 0.0

    def wall(self) -> float:
        """Return the wall time."""
        return super().wall() + self.ahead


@each_way
def test_one_that_has_expired_is_not_shown(way: Way, tmp_path: Path) -> None:
    """Nginx would answer 400, which is an event's fault: each one would become a dead letter."""
    own, ca_file, clock = files(tmp_path, OURS), tmp_path / "ca.pem", Later()
    ca_file.write_bytes(AUTHORITY.pem())

    async def body() -> None:
        async with serving(accepting, asking_for_one(tmp_path)) as server:
            settings = erp(server.url, way.transport, ca_file=ca_file, tls=ClientTlsSettings(*own))
            async with opened(settings, clock) as destination:
                assert words(await sent(destination, NO_SECRETS)) == "202"
                clock.ahead = own.ends() - NOW
                answer = await sent(destination, NO_SECRETS)
                assert words(answer) == "tls no"
                assert isinstance(answer, Fault)
                assert str(own.cert_file) in answer.detail
                assert classify(answer, NOW).kind is Kind.MISCONFIGURED
        assert len(server.requests) == 1

    way.run(body())


@each_way
def test_a_receiver_can_ask_later(way: Way, tmp_path: Path) -> None:
    """Apache does for a part of a site: TLS 1.3 calls it post-handshake authentication."""
    own, ca_file, seen = files(tmp_path, OURS), tmp_path / "ca.pem", []
    ca_file.write_bytes(AUTHORITY.pem())
    shown = showing(tmp_path, SERVER)
    shown.verify_mode, shown.post_handshake_auth = ssl.CERT_OPTIONAL, True
    shown.load_verify_locations(cadata=AUTHORITY.pem().decode())

    async def later(talk: Talk) -> None:
        await talk.request()
        connection = talk._writer.get_extra_info("ssl_object")
        connection.verify_client_post_handshake()
        await talk.say(b"HTTP/1.1 102 Processing\r\n\r\n")
        while connection.getpeercert() is None:
            await talk.beat()
        seen.append(connection.getpeercert()["subject"])
        await talk.say(ACCEPTED)

    async def body() -> None:
        async with serving(later, shown) as server:
            settings = erp(
                server.url, way.transport, ca_file=ca_file, tls=ClientTlsSettings(*own), timeout=5.0
            )
            async with opened(settings) as destination:
                assert words(await sent(destination, NO_SECRETS)) == "202"

    way.run(body())
    assert len(seen) == 1


NGINX = (
    b"<html>\r\n<head><title>400 %s</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1>"
    b"</center>\r\n<center>%s</center>\r\n<hr><center>nginx/1.24.0</center>\r\n</body>\r\n</html>\r\n"
)
ERROR, NONE = b"The SSL certificate error", b"No required SSL certificate was sent"


@each_way
@pytest.mark.parametrize(
    ("page", "kind", "came"),
    [
        (NGINX % (ERROR, ERROR), "text/html", "tls no"),
        (NGINX % (NONE, NONE), "text/html; charset=utf-8", "tls no"),
        (NGINX % (b"Bad Request", b"Bad Request"), "text/html", "400"),
        (b'{"error":"no SSL certificate in this event"}', "application/json", "400"),
    ],
)
def test_nginx_answers_400_for_one_that_it_does_not_accept(
    way: Way, page: bytes, kind: str, came: str, tmp_path: Path
) -> None:
    """kubernetes/ingress-nginx#7176; it is no event's fault, and pauses the link."""
    own, ca_file = files(tmp_path, OURS), tmp_path / "ca.pem"
    ca_file.write_bytes(AUTHORITY.pem())
    size = len(page)
    head = f"HTTP/1.1 400 X\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n\r\n"

    async def body() -> None:
        async with serving(answering(head.encode() + page), asking_for_one(tmp_path)) as server:
            settings = erp(server.url, way.transport, ca_file=ca_file, tls=ClientTlsSettings(*own))
            async with opened(settings) as destination:
                assert words(await sent(destination, NO_SECRETS)) == came

    way.run(body())


Spoil = Callable[[OwnCertificate], object]


def certificate(content: bytes) -> Spoil:
    """Write something else into the certificate's file."""
    return lambda own: own.cert_file.write_bytes(content)


def key(content: bytes) -> Spoil:
    """Write something else into the key's file."""
    return lambda own: own.key_file.write_bytes(content)


def a_folder(own: OwnCertificate) -> None:
    """Put a folder in the key's place."""
    own.key_file.unlink()
    own.key_file.mkdir()


PKCS8, OLD = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
NO_CERTIFICATE = "cert_file .*: holds no certificate"
ANOTHER = "key_file .*: the key doesn't belong to", "its own certificate first"
ENCRYPTED = "key_file .*: the key is encrypted", "openssl pkey -in"
UNUSABLE: dict[str, tuple[Spoil, str, str]] = {
    "no certificate": (lambda o: o.cert_file.unlink(), "cert_file .*: can't be read: No", "path"),
    "no key": (lambda o: o.key_file.unlink(), "key_file .*: can't be read: No such", "the path"),
    "a folder": (a_folder, "key_file .*: is not a file", ""),
    "endless": (certificate(b"a" * (2 << 20)), "cert_file .*: is too long", ""),
    "words": (certificate(b"words"), NO_CERTIFICATE, "PEM form"),
    "cut": (certificate(OURS.pem()[:200]), NO_CERTIFICATE, "PEM form"),
    "DER": (certificate(OURS.der()), NO_CERTIFICATE, "PEM form"),
    "a key that is none": (key(b"canary"), "key_file .*: holds no key", "PEM form"),
    "a cut key": (key(OURS.key_pem()[:90]), "key_file .*: holds no key", "PEM form"),
    "another key": (key(SERVER.key_pem()), *ANOTHER),
    "the chain first": (certificate(AUTHORITY.pem() + OURS.pem()), *ANOTHER),
    "PKCS 8": (key(encrypted(OURS, PKCS8)), *ENCRYPTED),
    "the old form": (key(encrypted(OURS, OLD)), *ENCRYPTED),
    "open to all": (lambda o: o.key_file.chmod(0o604), "key_file .*: can be read by", "chmod o="),
}


@pytest.mark.parametrize(("spoil", "why", "fix"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_refused(spoil: Spoil, why: str, fix: str, tmp_path: Path) -> None:
    """With its file and what to do, and without a question at the terminal (ansible#53360)."""
    own = files(tmp_path, OURS)
    spoil(own)
    with pytest.raises(ConfigError) as refused:
        tls_context(None, own)
    assert re.match(why, refused.value.message)
    assert fix in (refused.value.hint or "")
    assert "canary" not in f"{refused.value.message} {refused.value.hint}"


def test_a_key_that_cannot_be_read_is_refused() -> None:
    """It names the right that is missing."""
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        own = files(Path(name), OURS)
        Path(name).chmod(0o755)
        own.key_file.chmod(0)
        os.seteuid(before or pwd.getpwnam("nobody").pw_uid)  # root can read every file
        try:
            with pytest.raises(ConfigError, match=r"key_file .*: can't be read: Permission denied"):
                tls_context(None, own)
        finally:
            os.seteuid(before)


def test_one_file_can_be_both(tmp_path: Path) -> None:
    """In any order, and with words between, as the tools write it."""
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    for content in (OURS.pem() + OURS.key_pem(), OURS.key_pem() + b"Bag Attributes\n" + OURS.pem()):
        both.write_bytes(content)
        tls_context(None, OwnCertificate(both, both))


@pytest.mark.parametrize("days", [(-9, 1), (-1, 90), (-9, -2), (-1, 365 * 40), (-365 * 40, 1)])
def test_until_when_it_is_valid(days: tuple[int, int], tmp_path: Path) -> None:
    """As the certificate says, whether in the short form of dates or in the long one."""
    holder = issued(AUTHORITY, days=days)
    own = files(tmp_path, holder, AUTHORITY)
    ends = holder.certificate.not_valid_after_utc.timestamp()
    assert own.ends() == ends
    own.check(ends - 1)
    with pytest.raises(ConfigError, match=r"cert_file .*own\.pem: the certificate has expired on "):
        own.check(ends)


def test_an_expired_one_says_since_when(tmp_path: Path) -> None:
    """And what to do."""
    with pytest.raises(ConfigError, match=str(datetime.now(UTC).year)) as refused:
        files(tmp_path, EXPIRED).check(NOW)
    assert "renew" in (refused.value.hint or "")

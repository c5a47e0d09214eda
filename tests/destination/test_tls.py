"""Whose certificate is trusted: what curl and every Python trust, and nothing more."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shipper.destination.inspect import certificate_ends, origin_of
from shipper.destination.tls import tls_context
from shipper.errors import ConfigError
from tests.destination.certificates import Holder, issued, showing
from tests.destination.servers import ACCEPTED, CHUNKED, Talk, accepting, serving
from tests.destination.ways import WAYS, Way, each_way, words

PAYLOAD = b'{"type":"order"}'
# uvloop has a resolver of its own, which can't be told names.
ASYNCIO = [way for way in WAYS if way.loop is asyncio.new_event_loop]

# What is trusted, and what is shown: the receiver's own certificate first.
Scene = Callable[[], tuple[tuple[Holder, ...], tuple[Holder, ...]]]


def below(authority: Holder, *also_trusted: Holder, **oddities: object) -> Scene:
    """Trust an authority, and show a certificate of it."""
    return lambda: (
        (authority, *also_trusted),
        (issued(authority, **oddities),),  # type: ignore[arg-type]
    )


def itself(*, authority: bool | None) -> Scene:
    """Trust and show a certificate that nobody issued."""
    alone = issued(authority=authority)
    return lambda: ((alone,), (alone,))


def chain(trusted: int) -> Scene:
    """Show a chain of three, of which one is trusted."""
    root = issued(authority=True, identifiers=True, usage=True, common_name="root")
    middle = issued(root, authority=True, identifiers=True, usage=True, common_name="middle")
    leaf = issued(middle, identifiers=True)
    return lambda: (((leaf, middle, root)[trusted],), (leaf, middle))


def renewed() -> Scene:
    """Trust an authority that has expired, and the same one anew."""
    old = issued(authority=True, days=(-9, -1), identifiers=True, usage=True)
    new = issued(authority=True, key=old.key, identifiers=True, usage=True)
    return below(old, new, identifiers=True)


FULL = issued(authority=True, identifiers=True, usage=True)
BARE = issued(authority=True)
UNUSED = issued(authority=True, identifiers=True)
UNMARKED = issued(authority=True, identifiers=True, usage=True, critical=False)

TRUSTED: list[tuple[str, Scene, bool]] = [
    # The last says whether VERIFY_X509_STRICT would refuse it.
    ("nothing odd", below(FULL, identifiers=True), False),
    ("an authority without key identifiers", below(BARE), True),
    ("a certificate without key identifiers", below(FULL), True),
    ("an authority without key usage", below(UNUSED, identifiers=True), True),
    ("an authority whose mark isn't critical", below(UNMARKED, identifiers=True), True),
    ("the root of a chain", chain(2), False),
    ("the middle of a chain", chain(1), False),
    ("the receiver's own certificate", chain(0), False),
    ("one that nobody issued", itself(authority=None), False),
    ("one that nobody issued, no authority", itself(authority=False), False),
    ("an authority that has expired, and anew", renewed(), False),
]  # fmt: skip

UNTRUSTED: list[tuple[str, Scene]] = [
    ("another authority", lambda: ((FULL,), (issued(BARE),))),
    ("expired", below(FULL, days=(-9, -2))),
    ("not yet valid", below(FULL, days=(2, 9))),
    ("another address", below(FULL, names=("127.0.0.2", "localhost"))),
    ("a name instead of the address", below(FULL, names=("localhost",))),
    ("no name but the common one", below(FULL, names=(), common_name="127.0.0.1")),
    ("an issuer that is no authority", below(issued(authority=False))),
    ("an issuer that doesn't say it is one", below(issued(authority=None))),
    ("a key of 1024 bits", below(FULL, key=rsa.generate_private_key(65537, 1024))),
]


def written(directory: Path, trusted: tuple[Holder, ...]) -> Path:
    """Write what is trusted into a file."""
    file = directory / "ca.pem"
    file.write_bytes(b"".join(holder.pem() for holder in trusted))
    return file


async def told(way: Way, scene: Scene, directory: Path) -> str:
    """Return what comes of a try."""
    trusted, shown = scene()
    ca_file = written(directory, trusted)
    async with (
        serving(accepting, showing(directory, *shown)) as server,
        way.to(server.url, ca_file=ca_file) as destination,
    ):
        return words(await destination.send("e", PAYLOAD, "k"))


@each_way
@pytest.mark.parametrize("scene", [c[1] for c in TRUSTED], ids=[c[0] for c in TRUSTED])
def test_what_curl_trusts_is_trusted(way: Way, scene: Scene, tmp_path: Path) -> None:
    """Whatever a later Python thinks of it."""

    async def body() -> None:
        assert await told(way, scene, tmp_path) == "202"

    way.run(body())


@each_way
@pytest.mark.parametrize("scene", [c[1] for c in UNTRUSTED], ids=[c[0] for c in UNTRUSTED])
def test_what_curl_refuses_is_refused(way: Way, scene: Scene, tmp_path: Path) -> None:
    """Before a byte of the event leaves."""

    async def body() -> None:
        assert await told(way, scene, tmp_path) == "tls no"

    way.run(body())


@pytest.mark.parametrize("way", ASYNCIO, ids=[way.name for way in ASYNCIO])
@pytest.mark.parametrize("host", ["Shop.Example", "shop.example."])
def test_a_name_is_compared_as_names_are(
    way: Way, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without case, and without the dot at the end of a name (curl does so too)."""
    ask = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *a, **kw: ask("127.0.0.1", *a, **kw))
    ca_file = written(tmp_path, (FULL,))
    shown = showing(tmp_path, issued(FULL, names=("shop.example",)))

    async def body() -> None:
        async with serving(accepting, shown) as server:
            url = server.url.replace("127.0.0.1", host)
            async with way.to(url, ca_file=ca_file) as destination:
                assert words(await destination.send("e", PAYLOAD, "k")) == "202"
            assert await certificate_ends(origin_of(url), ca_file) > 0

    way.run(body())


@pytest.mark.parametrize("case", TRUSTED, ids=[case[0] for case in TRUSTED])
async def test_doctor_trusts_the_same(case: tuple[str, Scene, bool], tmp_path: Path) -> None:
    """And these are the certificates that VERIFY_X509_STRICT refuses: the cases are real."""
    _, scene, strict = case
    trusted, shown = scene()
    ca_file = written(tmp_path, trusted)
    harsh = tls_context(ca_file)
    harsh.verify_flags |= ssl.VERIFY_X509_STRICT
    async with serving(accepting, showing(tmp_path, *shown)) as server:
        assert await certificate_ends(origin_of(server.url), ca_file) > 0
        connecting = asyncio.open_connection("127.0.0.1", server.port, ssl=harsh)
        if strict:
            with pytest.raises(ssl.SSLCertVerificationError):
                await connecting
        else:
            _, writer = await connecting
            writer.close()
            await writer.wait_closed()


def test_every_python_trusts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What 3.13 has switched on and off is set here, whatever the default."""
    for flags in (ssl.VERIFY_X509_STRICT, ssl.VERIFY_X509_PARTIAL_CHAIN, ssl.VERIFY_DEFAULT):
        default = ssl.create_default_context()
        default.verify_flags |= flags
        monkeypatch.setattr(ssl, "create_default_context", lambda made=default: made)
        context = tls_context(None)
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@each_way
@pytest.mark.parametrize(
    "answer",
    [
        ACCEPTED,
        b"HTTP/1.1 202 A\r\n\r\n{}",
        CHUNKED.replace(b"200", b"202") + b"2\r\n{}\r\n0\r\n\r\n",
        ACCEPTED.replace(b"\r\n\r\n", b"\r\ncontent-length: 2\r\n\r\n"),
    ],
    ids=["length", "no length", "chunks", "length twice"],
)
def test_a_tls_connection_may_end_without_a_farewell(
    way: Way, answer: bytes, tmp_path: Path
) -> None:
    """Large front ends end theirs so (reqwest 2802): whatever is whole is an answer."""
    ca_file = written(tmp_path, (FULL,))

    async def rude(talk: Talk) -> None:
        await talk.request()
        await talk.say(answer)
        talk.cut()

    async def body() -> None:
        async with (
            serving(rude, showing(tmp_path, issued(FULL))) as server,
            way.to(server.url, ca_file=ca_file) as destination,
        ):
            assert words(await destination.send("e", PAYLOAD, "k")) == "202"

    way.run(body())


A, B = BARE.pem(), FULL.pem()


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (A, 1),
        (A + B, 2),
        ((A + B).replace(b"\n", b"\r\n"), 2),
        ("# Größe\n".encode() + A + b"and\n" + B, 2),
        (b"\xef\xbb\xbf" + A + B, 2),
        ("\ufeff# Größe\r\n".encode() + A + B, 2),
        (A.strip(), 1),
        (A + A, 1),
        (BARE.key_pem() + A, 1),
        (BARE.der(), 1),
    ],
    ids=["one", "two", "CRLF", "comments", "BOM", "BOM, comment", "no end", "twice", "key", "DER"],
)
def test_a_ca_file_adds_every_certificate_in_it(
    content: bytes, number: int, tmp_path: Path
) -> None:
    """Whatever wrote it; none is left out without a word."""
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    added = len(tls_context(file).get_ca_certs()) - len(tls_context(None).get_ca_certs())
    assert added == number


@pytest.mark.parametrize(
    "content",
    [b"", b"words", BARE.key_pem(), A[:200], A + B[:200], A.decode().encode("utf-16"), b"\x30\x03"],
    ids=["nothing", "words", "key", "cut", "second cut", "UTF-16", "DER cut"],
)
def test_a_ca_file_without_a_certificate_is_refused(content: bytes, tmp_path: Path) -> None:
    """With its name, and with what it should hold."""
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"ca_file .*ca\.pem: holds no certificate") as caught:
        tls_context(file)
    assert caught.value.hint is not None
    assert "BEGIN CERTIFICATE" in caught.value.hint


def test_a_ca_file_that_is_none_says_why(tmp_path: Path) -> None:
    """In the system's words."""
    for file, reason in ((tmp_path, "Is a directory"), (tmp_path / "no.pem", "No such file")):
        with pytest.raises(ConfigError, match=reason):
            tls_context(file)

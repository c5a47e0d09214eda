"""What the network shows of a destination: each line, well and broken, and never a traceback."""

import datetime
import ssl
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from shipper.advice import where_of
from shipper.clock import SystemClock
from shipper.config import DestinationSettings, Secret
from shipper.config.destination import AuthSettings, ClientTlsSettings
from shipper.doctor import network
from shipper.doctor.network import check_destination
from shipper.doctor.result import CheckLevel, CheckResult
from shipper.sandbox import AnyApi, Chaos, OAuthClient, Sandbox
from tests.destination.certificates import issued
from tests.destination.servers import (
    ACCEPTED,
    Script,
    answering,
    mute,
    serving,
    tunnelling,
    unused_port,
)
from tests.destination.test_own_certificate import AUTHORITY, SERVER, asking_for_one, files

API_ID = "canary-api-id-7f3a"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a loaded machine all the time that it needs."""
    monkeypatch.setattr(network, "PATIENCE", 30.0)


class _Clock(SystemClock):
    """The machine's clock, set wrong by so many seconds."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self._off = off

    def wall(self) -> float:
        """Return the wrong time."""
        return super().wall() + self._off


async def _examine(url: str, off: float = 0.0, **settings: Any) -> Mapping[str, CheckResult]:
    """Return what is found, by the first word of its name."""
    values: dict[str, Any] = {"api_id": Secret(API_ID), "timeout": 30.0} | settings
    found = await check_destination(DestinationSettings("shop", url, **values), _Clock(off))
    assert all(finding.name.endswith(" shop") for finding in found)
    assert API_ID not in str(found)
    return {finding.name.split()[0]: finding for finding in found}


def _levels(found: Mapping[str, CheckResult]) -> dict[str, str]:
    return {name: finding.level.value for name, finding in found.items()}


def _tls(authority: trustme.CA, tmp_path: Path, days: float = 90.0) -> tuple[ssl.SSLContext, Path]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days, hours=1)
    begin = end - datetime.timedelta(days=1000)
    authority.issue_cert("127.0.0.1", not_before=begin, not_after=end).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return context, tmp_path / "ca.pem"


async def test_all_is_well_with_the_sandbox() -> None:
    """Which checks as the vendor does, and takes no event for it."""
    sandbox = Sandbox(API_ID)
    await sandbox.start()
    try:
        found = await _examine(sandbox.events_url)
        assert set(_levels(found).values()) == {"ok"}
        assert list(found) == ["request", "proxy", "name", "TLS", "API", "clock"]
        assert not sandbox.ledger.visits
        assert found["name"].text == "127.0.0.1 is an address; no name to resolve"
        assert "is on this machine" in found["TLS"].text
        assert found["API"].text == "the API accepts this API ID (HTTP 200)"
    finally:
        await sandbox.stop()


async def test_a_wrong_api_id_is_told_without_it() -> None:
    """By the vendor's own validate endpoint."""
    sandbox = Sandbox("another")
    await sandbox.start()
    try:
        found = await _examine(sandbox.events_url)
        assert found["API"].level is CheckLevel.FAULT
        assert "API refuses this API ID" in found["API"].text
        assert "put the right api_id into" in str(found["API"].fix)
    finally:
        await sandbox.stop()


async def test_an_api_id_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """The other lines are there all the same."""
    found = await _examine("http://127.0.0.1:9/e", api_id=None, api_id_file=tmp_path / "gone")
    assert found["API"].level is CheckLevel.FAULT
    assert "gone" in found["API"].text
    assert found["name"].level is CheckLevel.OK


async def test_an_api_id_that_only_the_daemon_has_is_no_fault() -> None:
    """Systemd hands it to nobody else; whoever looks after the machine isn't alarmed for that."""
    found = await _examine("http://127.0.0.1:9/e", api_id=None)
    assert found["API"].level is CheckLevel.WARNING
    assert "no API ID" in found["API"].text
    assert "as root" in (found["API"].fix or "")


@pytest.mark.parametrize(
    ("answer", "level", "text"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", CheckLevel.FAULT, "HTTP 404"),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", CheckLevel.FAULT, "HTTP 500"),
        (
            b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n",
            CheckLevel.OK,
            "accepts this API ID (HTTP 400)",
        ),
        (
            b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            CheckLevel.WARNING,
            "asks for a pause",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
            CheckLevel.FAULT,
            "a web page came",
        ),
        (b"SSH-2.0-OpenSSH\r\n", CheckLevel.FAULT, "isn't HTTP"),
    ],
)
async def test_each_answer_means_something(answer: bytes, level: CheckLevel, text: str) -> None:
    """The same as it would for an event."""
    async with serving(answering(answer)) as server:
        found = await _examine(server.url)
    assert found["API"].level is level
    assert text in found["API"].text


async def test_nobody_there_is_a_finding() -> None:
    """And says where somebody has to listen."""
    with unused_port() as port:
        found = await _examine(f"http://127.0.0.1:{port}/e")
    assert found["API"].text == f"nothing listens at 127.0.0.1:{port}"
    assert f"127.0.0.1:{port}" in str(found["API"].fix)


async def test_a_name_that_nobody_knows_is_a_finding() -> None:
    """As on a machine without a network. Each line names the host."""
    found = await _examine("https://shop.invalid/e")
    assert _levels(found) == {
        "request": "ok",
        "proxy": "ok",
        "name": "fault",
        "TLS": "fault",
        "API": "fault",
    }
    assert "shop.invalid can't be resolved" in found["name"].text
    assert found["TLS"].text.startswith("shop.invalid:443 can't be reached: ")
    assert all(finding.fix for finding in found.values() if finding.level is CheckLevel.FAULT)


async def test_a_refused_greeting_names_the_place() -> None:
    """Host and port, in every line."""
    with unused_port() as port:
        found = await _examine(f"https://127.0.0.1:{port}/e")
    assert found["TLS"].text == f"127.0.0.1:{port} can't be reached: Connection refused"


async def test_whoever_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow a destination is allowed to be otherwise."""
    monkeypatch.setattr(network, "PATIENCE", 0.2)
    async with serving(mute) as server:
        found = await _examine(server.url.replace("http:", "https:"), timeout=600.0)
    assert found["TLS"].text == f"no answer from {where_of(server.url)} in 0 s"
    assert "deadline" in found["API"].text


# -- certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "level"), [(90.0, CheckLevel.OK), (13.0, CheckLevel.WARNING)])
async def test_a_certificate_is_told_before_it_ends(
    tmp_path: Path, days: float, level: CheckLevel
) -> None:
    """Two weeks before."""
    context, ca_file = _tls(trustme.CA(), tmp_path, days)
    async with serving(_hello, context) as server:
        found = await _examine(server.url, ca_file=ca_file)
    assert found["TLS"].level is level
    assert f"valid for {days:.0f} more days" in found["TLS"].text


@pytest.mark.parametrize("days", [-1.0, 90.0])
async def test_a_certificate_that_is_not_trusted_is_told(tmp_path: Path, days: float) -> None:
    """Expired, or of an authority that nobody knows."""
    context, ca_file = _tls(trustme.CA(), tmp_path, days)
    async with serving(_hello, context) as server:
        found = await _examine(server.url, ca_file=ca_file if days < 0 else None)
    assert found["TLS"].level is CheckLevel.FAULT
    assert f"the certificate of {where_of(server.url)} isn't trusted" in found["TLS"].text


async def test_a_machine_without_any_authority_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a small container image is, where the package ca-certificates was forgotten."""
    context, _ = _tls(trustme.CA(), tmp_path, 90.0)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(empty / "none.pem"))
    for directory in (empty, empty / "nowhere"):
        monkeypatch.setenv("SSL_CERT_DIR", str(directory))
        async with serving(_hello, context) as server:
            found = await _examine(server.url)
        assert "this machine has no list of trusted authorities" in found["TLS"].text
        assert "ca-certificates" in str(found["TLS"].fix)
    monkeypatch.setenv("SSL_CERT_DIR", str(empty))
    (empty / "5ed36f99.0").write_bytes(b"")
    async with serving(_hello, context) as server:
        assert "at all" not in (await _examine(server.url))["TLS"].text


async def test_whoever_speaks_no_tls_is_told() -> None:
    """A wrong port, for instance."""
    async with serving(_plain) as server:
        found = await _examine(server.url.replace("http:", "https:"))
    assert found["TLS"].level is CheckLevel.FAULT


async def _plain(talk: Any) -> None:
    """Answer whatever comes in plain HTTP."""
    await talk.say(b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n")


async def _hello(talk: Any) -> None:
    """Take the question of the one connection, and let the other go."""
    script: Script = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
    await script(talk)


# -- clocks and proxies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("off", "level", "text"),
    [
        (0.0, CheckLevel.OK, ""),
        (3600.0, CheckLevel.WARNING, "ahead of"),
        (-3600.0, CheckLevel.WARNING, "behind"),
    ],
)
async def test_a_clock_that_is_wrong_is_told(off: float, level: CheckLevel, text: str) -> None:
    """Measured against the API's own Date."""
    date = formatdate(SystemClock().wall(), usegmt=True).encode()
    answer = b"HTTP/1.1 200 OK\r\ndate: " + date + b"\r\ncontent-length: 2\r\n\r\n[]"
    async with serving(answering(answer)) as server:
        found = await _examine(server.url, off)
    assert found["clock"].level is level
    assert text in found["clock"].text


@pytest.mark.parametrize("date", [b"yesterday", b"Thu, 99 Foo 9999 99:99:99 GMT"])
async def test_a_date_that_is_none_is_told(date: bytes) -> None:
    """It is the API's, and no reason to fail."""
    answer = b"HTTP/1.1 200 OK\r\ndate: " + date + b"\r\ncontent-length: 2\r\n\r\n[]"
    async with serving(answering(answer)) as server:
        found = await _examine(server.url)
    assert found["clock"].level is CheckLevel.WARNING


async def test_a_proxy_is_named_without_its_password() -> None:
    """And asked for its name instead of the API's."""
    async with serving(tunnelling()) as proxy:
        found = await _examine(
            "http://shop.invalid/e", proxy=f"http://user:s3cret@127.0.0.1:{proxy.port}"
        )
    assert "user:****@127.0.0.1" in found["proxy"].text
    assert "s3cret" not in str(found)
    assert _levels(found) == {
        "request": "ok",
        "proxy": "ok",
        "name": "ok",
        "TLS": "ok",
        "API": "ok",
    }


async def test_a_proxy_of_the_environment_is_told_to_be_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody may wonder."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cret@proxy:3128")
    found = await _examine("http://127.0.0.1:9/e")
    assert found["proxy"].text == "none; $HTTPS_PROXY is set, but shipper doesn't use it"


@pytest.mark.parametrize(
    ("days", "level", "text"),
    [
        (90, "ok", "is valid for 90 more days"),
        (14, "ok", "is valid for 14 more days"),
        (13, "warning", "is valid for 13 more days"),
        (-1, "fault", "has expired on "),
    ],
)
async def test_the_days_of_its_own_certificate(
    days: int, level: str, text: str, tmp_path: Path
) -> None:
    """Before its end, so that there is time to renew it."""
    holder = issued(AUTHORITY, names=(), days=(-30, days))
    tls = ClientTlsSettings(*files(tmp_path, holder))
    async with serving(answering(ACCEPTED), asking_for_one(tmp_path)) as server:
        found = await _examine(server.url, off=-60.0, kind="http", tls=tls, api_id=None)
    assert found["certificate"].level.value == level
    assert text in found["certificate"].text
    assert str(tmp_path / "own.pem") in found["certificate"].text


async def test_an_own_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    """What the daemon would refuse is a fault here, with the same words."""
    own = files(tmp_path, issued(AUTHORITY, names=()))
    own.key_file.write_bytes(SERVER.key_pem())
    tls = ClientTlsSettings(*own)
    found = await _examine("https://127.0.0.1:1/", kind="http", tls=tls, api_id=None)
    assert found["certificate"].level.value == "fault"
    assert "the key doesn't belong to the certificate" in found["certificate"].text


# -- destinations of kind http ----------------------------------------------------------------


async def _asked_for_a_token(
    tmp_path: Path, secret: str, chaos: str = ""
) -> tuple[Mapping[str, CheckResult], int]:
    """Return what is found with an OAuth2 secret, and how many tokens there were."""
    file = tmp_path / "secret"
    file.write_text(secret)
    file.chmod(0o600)
    api = AnyApi(client=OAuthClient("shop", CANARY, 60.0))
    assert api.tokens is not None
    sandbox = Sandbox(api=api, chaos=Chaos.parse(chaos))
    async with sandbox.serve() as url:
        auth = AuthSettings(
            "oauth2", token_url=f"{url}/oauth/token", client_id="shop", client_secret_file=file
        )
        found = await _examine(f"{url}/orders/{{event_id}}", kind="http", api_id=None, auth=auth)
    assert sandbox.ledger.summary().accepted == 0
    assert CANARY not in str(found)
    assert secret not in str(found)
    return found, api.tokens.given


CANARY = "canary-client-secret-7f3a"


async def test_an_http_api_gets_no_request_but_for_a_token(tmp_path: Path) -> None:
    """Each request to it would be an event; the token endpoint is asked once."""
    found, given = await _asked_for_a_token(tmp_path, CANARY)
    assert set(_levels(found).values()) == {"ok"}
    assert list(found) == ["request", "proxy", "name", "TLS", "API", "token"]
    assert found["request"].text.startswith("POST http://127.0.0.1:")
    assert "/orders/{event_id} with accept: */*; " in found["request"].text
    assert found["request"].text.endswith("authorization: Bearer ****; idempotency-key: {event_id}")
    assert found["API"].text == "not asked: each request to it is an event"
    assert found["token"].text.endswith(" gives tokens")
    assert given == 1


@pytest.mark.parametrize(
    ("secret", "chaos", "fix"),
    [
        ("wrong-secret", "", "client_id"),
        (CANARY, "500:1@/oauth/token", "token_url"),
        (CANARY, "drop:1@/oauth/token", "token_url"),
    ],
)
async def test_a_token_endpoint_that_gives_none_is_said_so(
    tmp_path: Path, secret: str, chaos: str, fix: str
) -> None:
    """With what to do about it."""
    found, given = await _asked_for_a_token(tmp_path, secret, chaos)
    assert found["token"].level is CheckLevel.FAULT
    assert fix in (found["token"].fix or ""), found["token"]
    assert given == 0


async def test_a_secret_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    """Nothing is asked then."""
    auth = AuthSettings(
        "oauth2",
        token_url="http://127.0.0.1:9/t",
        client_id="shop",
        client_secret_file=tmp_path / "none",
    )
    found = await _examine("http://127.0.0.1:9/e", kind="http", api_id=None, auth=auth)
    assert found["token"].level is CheckLevel.FAULT
    assert "none" in found["token"].text

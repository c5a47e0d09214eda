"""The parts of a destination that need no receiver: arguments, choices, the words for faults."""

import ssl
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Literal
from urllib.parse import unquote_to_bytes

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.destination import Destination
from shipper.destination.faults import fault
from shipper.destination.form import EightSelectForm, idempotency_key
from shipper.destination.httpx_transport import HttpxTransport
from shipper.destination.request import NotHttpError
from shipper.destination.tls import Trust
from shipper.destination.transport import FastTransport
from shipper.errors import ConfigError

Choice = Literal["auto", "httpx"]


def a_destination(
    url: str = "https://api.example/v3/events",
    *,
    proxy: str | None = None,
    ca_file: Path | None = None,
    transport: Choice = "auto",
) -> Destination:
    """Make a destination that is never opened."""
    return Destination(
        EightSelectForm(url),
        timeout=1,
        max_in_flight=1,
        proxy=proxy,
        trust=Trust(ca_file),
        transport=transport,
    )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://api.example/",
        "api.example/v3",
        "https://",
        "https://:443/",
        "https://user:geheim@api.example/",
        "http://[::1/",
        f"https://{'a' * 64}.example/",
        "https://shop..example/",
        "https://api.example:99999999/",
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once(url: str) -> None:
    """ConfigError, before anything is opened, and without quoting a password."""
    with pytest.raises(ConfigError) as caught:
        a_destination(url)
    assert "geheim" not in caught.value.message


@pytest.mark.parametrize("proxy", ["ftp://p.example", "socks4://p.example", "p.example:3128", "//"])
def test_a_proxy_that_cannot_work_is_refused_at_once(proxy: str) -> None:
    """An unknown scheme is a fault of the configuration."""
    with pytest.raises(ConfigError):
        a_destination(proxy=proxy)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_broken_ca_file_is_refused_at_once(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, or no certificate: named, not ignored."""
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        a_destination(ca_file=ca_file)


@given(st.binary(min_size=1, max_size=60))
def test_any_event_id_survives_its_header(raw: bytes) -> None:
    """Whatever bytes an id was read from, decoding the header gives them back; all is visible."""
    key = idempotency_key(raw.decode("utf-8", "surrogateescape"))
    assert unquote_to_bytes(key) == raw
    assert all(0x21 <= ord(char) <= 0x7E for char in key)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="%")))
def test_a_visible_event_id_stays_as_it_is(event_id: str) -> None:
    """Only what must be encoded is."""
    assert idempotency_key(event_id) == event_id


async def test_our_own_client_is_for_direct_connections() -> None:
    """`auto` takes it, but for a proxy; the stock one can be had for anything."""
    assert isinstance(a_destination()._open(), FastTransport)
    assert isinstance(a_destination(transport="httpx")._open(), HttpxTransport)
    assert isinstance(a_destination(proxy="http://p.example:3128")._open(), HttpxTransport)


async def test_without_httptools_the_stock_client_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no wheel of it, everything works, if slower."""
    monkeypatch.setitem(sys.modules, "httptools", None)
    assert isinstance(a_destination()._open(), HttpxTransport)


def test_a_socks_proxy_works_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said against it where that is installed."""
    module = ModuleType("socksio")
    module.__spec__ = ModuleSpec("socksio", None)
    monkeypatch.setitem(sys.modules, "socksio", module)
    a_destination(proxy="socks5://p.example:1080")


def test_a_socks_proxy_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy, and before anything is sent."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(ConfigError) as caught:
        a_destination(proxy="socks5://p.example:1080")
    assert str(caught.value.hint).endswith("pip install 'httpx[socks]'")


def test_a_name_with_two_dead_addresses_is_refused() -> None:
    """Of several failures behind one the known one counts."""
    group = ExceptionGroup("both", [OSError("no route"), ConnectionRefusedError(111, "refused")])
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = group
    assert fault(error, begun=False, proxied=False).kind == "refused"


def test_an_alert_after_the_request_is_of_tls_all_the_same() -> None:
    """With TLS 1.3 a missing client certificate shows only after the request has left."""
    error = httpx.ReadError("alert")
    error.__cause__ = ssl.SSLError(1, "alert certificate required")
    answer = fault(error, begun=True, proxied=False)
    assert (answer.kind, answer.sent) == ("tls", "maybe")


def test_a_hangup_within_tls_is_no_matter_of_certificates() -> None:
    """A receiver that restarts must not look like one with a wrong certificate."""
    error = httpx.ConnectError("EOF occurred in violation of protocol")
    error.__cause__ = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
    assert fault(error, begun=False, proxied=False).kind == "unreachable"
    assert fault(error, begun=True, proxied=False).kind == "closed"


def test_somebody_elses_failure_is_not_ours() -> None:
    """What the caller was just handling doesn't name the fault."""
    error = ConnectionAbortedError()
    error.__context__ = TimeoutError()
    assert fault(error, begun=True, proxied=False).kind == "closed"


def test_no_detail_quotes_what_a_peer_said() -> None:
    """An echoed payload or key would come out in the log."""
    echo = "x-api-id: secret"
    errors = [
        httpx.RemoteProtocolError(f"illegal header line: {echo}"),
        httpx.ProxyError(f"407 {echo}"),
        NotHttpError(echo),
        OSError(echo),
    ]
    for error in errors:
        for begun in (False, True):
            assert "secret" not in fault(error, begun=begun, proxied=True).detail

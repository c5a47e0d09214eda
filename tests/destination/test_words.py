"""What a fault says: of which host and port, in a sentence, and nothing that has to stay secret."""

import asyncio
import errno
import socket
from pathlib import Path

import httpx
import pytest

from shipper.destination import Destination
from shipper.destination.dial import reach
from shipper.destination.faults import Peer, fault
from shipper.destination.form import EightSelectForm
from shipper.destination.webhook import Hook
from shipper.policy.outcome import Fault, Reply, classify
from tests.destination.certificates import issued, showing
from tests.destination.servers import (
    Script,
    Talk,
    accepting,
    answering,
    closing_after_reading,
    full_backlog,
    hanging,
    mute,
    resetting,
    serving,
    tunnelling,
    unused_port,
)
from tests.destination.ways import DEADLINE, Way, each_of_ours, each_way

SECRETS = "/canary-path?t=canary-query"


async def told(
    way: Way,
    url: str,
    *,
    timeout: float = 10.0,
    ca_file: Path | None = None,
    proxy: str | None = None,
) -> str:
    """Return what the fault of a try says."""
    url += SECRETS
    async with way.to(url, timeout=timeout, ca_file=ca_file, proxy=proxy) as destination:
        answer = await destination.send("canary-event", b'"canary-payload"', "canary-id")
    assert isinstance(answer, Fault)
    assert "canary" not in str(answer)
    return answer.detail


async def speaking(talk: Talk) -> None:
    """Be a plain port: answer a greeting of TLS in HTTP."""
    await talk.say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


@each_way
def test_nobody_listens_names_host_and_port(way: Way) -> None:
    """As every message does."""

    async def body() -> None:
        with unused_port() as port:
            detail = await told(way, f"http://127.0.0.1:{port}")
            assert detail == f"nothing listens at 127.0.0.1:{port}"

    way.run(body())


@each_way
def test_a_name_that_nobody_knows_is_named(way: Way) -> None:
    """With the system's words."""

    async def body() -> None:
        detail = await told(way, "https://shop.invalid")
        assert detail.startswith("shop.invalid can't be resolved: ")

    way.run(body())


@each_way
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (hanging, "no whole answer from {} before the deadline of 0.5 s"),
        (closing_after_reading, "{} closed the connection before its answer was whole"),
        (resetting, "the connection to {} was lost: connection reset by peer"),
        (answering(b"SSH-2.0\r\n\r\n"), "the answer of {} isn't HTTP, or exceeds a bound"),
    ],
    ids=["hanging", "closing", "resetting", "garbage"],
)
def test_an_answer_that_is_none_names_host_and_port(way: Way, script: Script, words: str) -> None:
    """Whatever went wrong with it."""

    async def body() -> None:
        async with serving(script) as server:
            detail = await told(way, f"http://127.0.0.1:{server.port}", timeout=DEADLINE)
            assert detail == words.format(f"127.0.0.1:{server.port}")

    way.run(body())


@each_way
def test_a_connection_that_hangs_says_how_far_it_came(way: Way) -> None:
    """To the address, or to the greeting of TLS."""

    async def body() -> None:
        with full_backlog() as port:
            detail = await told(way, f"http://127.0.0.1:{port}", timeout=DEADLINE)
            assert detail == f"no connection to 127.0.0.1:{port} before the deadline of 0.5 s"
        async with serving(mute) as server:
            where = f"127.0.0.1:{server.port}"
            detail = await told(way, f"https://{where}", timeout=DEADLINE)
            assert (
                detail
                == f"no answer to the TLS handshake from {where} before the deadline of 0.5 s"
            )

    way.run(body())


@each_of_ours
def test_a_try_that_never_had_its_turn_says_so(way: Way) -> None:
    """Others were in its way, not the network."""

    async def body() -> None:
        async with serving(hanging) as server:
            url = f"http://127.0.0.1:{server.port}/"
            async with way.to(url, timeout=DEADLINE) as destination:
                sends = (destination.send(f"e{n}", b"{}", "k") for n in range(40))
                answers = [a for a in await asyncio.gather(*sends) if isinstance(a, Fault)]
        where = f"127.0.0.1:{server.port}"
        # One that is let go just before the end may still be taken by another.
        told = [a.detail for a in answers if a.sent == "no"]
        assert f"no connection to {where} was free before the deadline of 0.5 s" in told

    way.run(body())


@each_way
def test_a_certificate_is_named_by_whose_it_should_be(way: Way, tmp_path: Path) -> None:
    """And why it isn't trusted."""

    async def body() -> None:
        async with serving(accepting, showing(tmp_path, issued())) as server:
            where = f"127.0.0.1:{server.port}"
            detail = await told(way, f"https://{where}")
            assert detail == f"the certificate of {where} isn't trusted: self-signed certificate"
        async with serving(speaking) as server:
            where = f"127.0.0.1:{server.port}"
            detail = await told(way, f"https://{where}")
            assert detail.startswith(f"TLS with {where} failed: ")

    way.run(body())


@each_way
def test_the_proxy_is_named_where_it_is_the_proxys_fault(way: Way) -> None:
    """Without the password that leads through it."""
    shop = "https://shop.invalid"

    async def body() -> None:
        with unused_port() as port:
            detail = await told(way, shop, proxy=f"http://canary:canary@127.0.0.1:{port}")
            assert detail == f"at the proxy: nothing listens at 127.0.0.1:{port}"
        detail = await told(way, shop, proxy="http://p.invalid:3128")
        assert detail.startswith("at the proxy: p.invalid can't be resolved: ")
        refusing = tunnelling(b"HTTP/1.1 407 canary\r\n\r\n")
        async with serving(refusing) as proxy:
            detail = await told(way, shop, proxy=f"http://127.0.0.1:{proxy.port}")
            assert detail == f"the proxy 127.0.0.1:{proxy.port} answered HTTP 407"

    way.run(body())


@each_way
def test_a_redirect_is_told_with_where_it_points_to(way: Way) -> None:
    """A captive portal's page solves the riddle by its name."""
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: https://login.hotel.example/canary?mac=canary\r\n"
        b"content-length: 0\r\n\r\n"
    )

    async def body() -> None:
        async with serving(answering(answer)) as server, way.to(server.url) as destination:
            reply = await destination.send("e", b"{}", "k")
            outcome = classify(reply, 0.0, destination.where)
        assert outcome.detail == (
            "it points to https://login.hotel.example, perhaps the login page of a captive portal"
            f" (127.0.0.1:{server.port})"
        )

    way.run(body())


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://api.example/v3", "api.example:443"),
        ("http://127.0.0.1/", "127.0.0.1:80"),
        ("http://localhost:8808/", "localhost:8808"),
        ("http://[::1]:8808/", "[::1]:8808"),
        ("https://API.example./", "api.example.:443"),
    ],
)
def test_the_port_is_said_also_where_it_goes_without_saying(url: str, where: str) -> None:
    """An operator can type `api.example:443` into a firewall."""
    assert Destination(EightSelectForm(url), timeout=1.0, max_in_flight=1).where == where


async def test_every_address_that_was_tried_is_named() -> None:
    """Of a name with several, for it is rarely the name that is wrong."""
    peer = Peer.of(httpx.URL("http://api.example:8808/"))
    with unused_port() as dead, socket.socket(socket.AF_INET6) as six:
        addresses = [(socket.AF_INET, (f"127.0.0.{n}", dead)) for n in range(1, 3)]
        try:
            six.bind(("::1", 0))
            addresses.append((socket.AF_INET6, ("::1", six.getsockname()[1], 0, 0)))  # type: ignore[arg-type]
        except OSError:
            pass
        with pytest.raises(OSError, match="no address answers") as caught:
            await reach(addresses)
    detail = fault(caught.value, begun=False, proxied=False, peer=peer).detail
    assert detail.startswith("nothing listens at api.example:8808 (")
    for _, place in addresses:
        assert str(place[0]) in detail


def test_a_network_without_a_way_is_named() -> None:
    """With the system's words, also for a timeout that isn't ours."""
    peer = Peer.of(httpx.URL("https://api.example/"), 10.0)
    for number, words in (
        (errno.EHOSTUNREACH, "no route to host"),
        (errno.ENETUNREACH, "network is unreachable"),
        (errno.ETIMEDOUT, "connection timed out"),
    ):
        answer = fault(OSError(number, "x"), begun=False, proxied=False, peer=peer)
        assert answer.kind == ("timeout" if number == errno.ETIMEDOUT else "unreachable")
        assert answer.sent == "no"
        assert answer.detail == f"api.example:443 can't be reached: {words}"


async def test_a_hooks_url_is_no_part_of_its_fault() -> None:
    """Neither its host nor where it points to: it is a secret as a whole."""
    with unused_port() as port:
        hook = Hook(
            f"http://127.0.0.1:{port}/canary", "POST", timeout=5.0, ca_file=None, proxy=None
        )
        answer = await hook.send()
        await hook.aclose()
    assert isinstance(answer, Fault)
    assert answer.detail == "nothing listens at the host of the url"
    moved = answering(
        b"HTTP/1.1 301 M\r\nlocation: https://h.example/canary\r\ncontent-length: 0\r\n\r\n"
    )
    async with serving(moved) as server:
        hook = Hook(server.url, "POST", timeout=5.0, ca_file=None, proxy=None)
        reply = await hook.send()
        await hook.aclose()
    assert isinstance(reply, Reply)
    assert "canary" not in str(reply)

"""What a receiver sees of us: the request, the connection it comes over, and how often."""

import asyncio
import ssl
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
import trustme

from shipper import __version__
from shipper.policy.outcome import Fault, Invalid
from tests import needs
from tests.destination.servers import Server, accepting, hanging, serving, stale, unused_port
from tests.destination.ways import Way, each_way, words

pytestmark = each_way
PAYLOAD = '{"type":"order","order":{"id":"Größe 7"}}'.encode()


def test_a_request_is_exactly_what_the_interface_says(way: Way) -> None:
    """Method, path, body and every header, and not one header more."""

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url) as destination:
            await destination.send("order 47/11 100% Größe", PAYLOAD, "id-0815")
        (request,) = server.requests
        assert request.line == "POST /v3/events HTTP/1.1"
        assert request.body == PAYLOAD
        assert request.headers == {
            "host": f"127.0.0.1:{server.port}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-length": str(len(PAYLOAD)),
            "content-type": "application/json",
            "idempotency-key": "order%2047/11%20100%25%20Gr%C3%B6%C3%9Fe",
            "user-agent": f"shipper/{__version__}",
            "x-api-id": "id-0815",
        }

    way.run(body())


def test_validation_asks_the_path_beside(way: Way) -> None:
    """`validate` posts to url + /validate, query kept, without an idempotency key."""

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url + "%2Fx?shop=1") as destination:
            assert words(await destination.validate(PAYLOAD, "k")) == "202"
        (request,) = server.requests
        assert request.line == "POST /v3/events%2Fx/validate?shop=1 HTTP/1.1"
        assert "idempotency-key" not in request.headers

    way.run(body())


def test_different_ids_have_different_headers(way: Way) -> None:
    """The encoding loses nothing on the wire either."""
    ids = ["a b", "a%20b", "a+b", "ä", "%C3%A4", "\udcff", "%FF"]

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url) as destination:
            for event_id in ids:
                await destination.send(event_id, PAYLOAD, "k")
        assert _keys(server) == ids

    way.run(body())


@pytest.mark.parametrize("size", [2**16, 2**16 + 1, 5 * 2**20])
def test_a_large_payload_arrives_whole(way: Way, size: int) -> None:
    """Five megabytes go out byte for byte, and so does what is just more than one write."""
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url) as destination:
            assert words(await destination.send("e", payload, "k")) == "202"
        assert server.requests[0].body == payload

    way.run(body())


def test_an_empty_payload_is_sent_as_one(way: Way) -> None:
    """Nothing is a body too: what to think of it is the receiver's business."""

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url) as destination:
            assert words(await destination.send("e", b"", "k")) == "202"
        assert server.requests[0].headers["content-length"] == "0"

    way.run(body())


def test_ipv6_works(way: Way) -> None:
    """An address in brackets is reached, and named in Host."""

    async def body() -> None:
        try:
            async with serving(accepting, host="::1") as server:
                async with way.to(f"http://[::1]:{server.port}/") as destination:
                    assert words(await destination.send("e", PAYLOAD, "k")) == "202"
                assert server.requests[0].headers["host"] == f"[::1]:{server.port}"
        except OSError:
            needs.missing("no IPv6 on this machine")

    way.run(body())


def test_no_proxy_from_the_environment(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and similar variables have no effect."""
    with unused_port() as port:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)

        async def body() -> None:
            async with serving(accepting) as server, way.to(server.url) as destination:
                assert words(await destination.send("e", PAYLOAD, "k")) == "202"

        way.run(body())


def test_connections_are_kept_and_shared(way: Way) -> None:
    """A second event goes over the first one's connection."""

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url) as destination:
            for _ in range(5):
                assert words(await destination.send("e", PAYLOAD, "k")) == "202"
        assert server.connections == 1

    way.run(body())


def test_connections_by_tls_are_kept_as_well(way: Way, tmp_path: Path) -> None:
    """Tickets that the receiver sends of its own accord don't look like answers; 5 MB pass."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def body() -> None:
        async with (
            serving(accepting, context) as server,
            way.to(server.url, ca_file=tmp_path / "ca.pem") as destination,
        ):
            for payload in (PAYLOAD, b"x" * (5 * 2**20), PAYLOAD):
                assert words(await destination.send("e", payload, "k")) == "202"
                assert server.requests[-1].body == payload
        assert server.connections == 1

    way.run(body())


def test_no_more_connections_than_tries_in_flight(way: Way) -> None:
    """Of more tries than `max_in_flight`, the surplus waits its turn."""

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url) as destination:
            sends = [destination.send(f"e{n}", PAYLOAD, "k") for n in range(40)]
            assert {words(answer) for answer in await asyncio.gather(*sends)} == {"202"}
        assert server.connections <= 4

    way.run(body())


def test_what_is_called_unsent_never_arrived(way: Way) -> None:
    """Of twelve tries that fight for four connections to a mute receiver, `no` means no."""

    async def body() -> None:
        async with serving(hanging) as server, way.to(server.url, timeout=0.2) as destination:
            ids = [f"e{n}" for n in range(12)]
            answers = await asyncio.gather(*(destination.send(i, PAYLOAD, "k") for i in ids))
        unsent = {
            event_id
            for event_id, answer in zip(ids, answers, strict=True)
            if isinstance(answer, Fault) and answer.sent == "no"
        }
        assert {words(answer) for answer in answers} <= {"timeout maybe", "timeout no"}
        assert unsent.isdisjoint(_keys(server))

    way.run(body())


def test_a_lost_post_is_never_sent_again(way: Way) -> None:
    """If a kept connection closes during the second event, that try fails and isn't repeated."""

    async def body() -> None:
        async with serving(stale) as server, way.to(server.url) as destination:
            assert words(await destination.send("first", PAYLOAD, "k")) == "202"
            assert words(await destination.send("second", PAYLOAD, "k")) == "closed maybe"
        assert _keys(server) == ["first", "second"]

    way.run(body())


@pytest.mark.parametrize("api_id", ["two\r\nx-evil: 1", "nul\0", "Größe", "\x7f"])
def test_a_broken_api_id_harms_no_event(way: Way, api_id: str) -> None:
    """It is a matter of configuration: nothing is sent, nothing quoted, and no event refused."""

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url) as destination:
            answer = await destination.send("e", PAYLOAD, api_id)
        assert isinstance(answer, Fault)
        assert (answer.kind, answer.sent) == ("unreachable", "no")
        assert api_id not in answer.detail
        assert server.connections == 0

    way.run(body())


def test_an_event_id_without_utf8_form_is_unbuildable(way: Way) -> None:
    """A lone surrogate that stands for no byte ends as Invalid, before anything is sent."""

    async def body() -> None:
        async with serving(accepting) as server, way.to(server.url) as destination:
            answer = await destination.send("\ud800", PAYLOAD, "k")
        assert isinstance(answer, Invalid)
        assert answer.cause == "unbuildable"
        assert server.connections == 0

    way.run(body())


def _keys(server: Server) -> list[str]:
    keys = [unquote_to_bytes(request.headers["idempotency-key"]) for request in server.requests]
    return [key.decode("utf-8", "surrogateescape") for key in keys]

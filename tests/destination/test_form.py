"""What a destination of kind http sends, by both transports, whatever the rows hold."""

import json
from functools import partial
from pathlib import Path
from urllib.parse import unquote_to_bytes

import h11
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper import __version__
from shipper.config import DestinationSettings
from shipper.config.http_types import HeaderValue
from shipper.config.secrets import Secrets
from shipper.config.template import Unbuildable
from shipper.destination.form import HttpForm, Unsendable, form_of
from shipper.destination.preview import preview
from shipper.destination.request import Request, awaited
from shipper.errors import ConfigError
from shipper.policy.event import Event
from tests.destination.servers import accepting, serving
from tests.destination.ways import Way, each_way, words

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
SECRETS = Secrets(headers={"X-Key": "from a file"}, named={"hook": "s/e%c"})
NAMES = ["host", "accept", "accept-encoding", "content-type", "user-agent", "X-Mixed", "X-Key"]


def settings(url: str = "https://erp.example:8443/v1", **more: object) -> DestinationSettings:
    """Return a destination of kind http."""
    headers = {
        "X-Mixed": HeaderValue(text="{event_id} {ordering_key};{type}, {secret:hook}"),
        "X-Key": HeaderValue(file=Path("erp_key")),
    }
    whole = url + "/{type}/a{ordering_key}b/{event_id}?k={secret:hook}&t={type}"
    known: dict[str, object] = {"kind": "http", "headers": headers, **more}
    return DestinationSettings("erp", whole, **known)  # type: ignore[arg-type]


def an_event(event_id: str = "e/1", key: str | None = "k ä", payload: bytes = b"") -> Event:
    """Return an event of the destination."""
    return Event(1, event_id, "erp", key, payload or b'{"type":"or.der","x":1}')


def parsed(request: Request) -> h11.Request:
    """Return what a strict receiver reads; fails if it reads anything more than one request."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(request.head() + request.body)
    found = connection.next_event()
    assert isinstance(found, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert body == request.body
    assert connection.trailing_data == (b"", False)
    return found


@given(TEXTS, st.none() | TEXTS, TEXTS | st.integers() | st.none())
def test_no_row_can_break_out_of_its_place(
    event_id: str, key: str | None, kind: str | int | None
) -> None:
    """The receiver sees the same host, the same path but for the values, and the same headers."""
    payload = json.dumps({"type": kind}).encode()
    form = HttpForm(settings())
    try:
        request = form.request(an_event(event_id, key, payload), SECRETS)
    except Unbuildable:
        return
    found = parsed(request)
    assert found.method == b"POST"
    path, _, query = found.target.partition(b"?")
    _, version, of_type, of_key, of_id = path.split(b"/")
    assert version == b"v1"
    assert unquote_to_bytes(of_type) == str(kind).encode()
    assert unquote_to_bytes(of_key) == f"a{key}b".encode("utf-8", "surrogateescape")
    assert unquote_to_bytes(of_id) == event_id.encode("utf-8", "surrogateescape")
    assert query.split(b"&")[0] == b"k=s%2Fe%25c"
    assert [name.decode() for name, _ in found.headers.raw_items()] == [
        *NAMES,
        *("idempotency-key", "content-length"),
    ]
    fields = dict(found.headers)
    assert fields[b"host"] == b"erp.example:8443"
    assert unquote_to_bytes(fields[b"idempotency-key"]) == event_id.encode(
        "utf-8", "surrogateescape"
    )


@given(TEXTS.filter(bool), TEXTS.filter(bool))
def test_both_transports_send_the_same(event_id: str, key: str) -> None:
    """Httpx must not encode or normalise anything again."""
    try:
        request = HttpForm(settings()).request(an_event(event_id, key), SECRETS)
    except Unbuildable:
        return
    stock = httpx.Request(request.method, request.url, headers=request.fields())
    assert stock.url.raw_path == parsed(request).target
    assert stock.url.netloc == b"erp.example:8443"
    assert {**dict(parsed(request).headers)} == {
        **{name.lower(): value for name, value in stock.headers.raw},
        b"content-length": str(len(request.body)).encode(),
    }


@pytest.mark.parametrize("literal", ["/a[b]c|d^e`f", "/%7Euser/%e4", "/a;b=1,2/@x:y", "/a'b\"c<d>"])
def test_what_the_configuration_writes_is_sent_as_it_is_or_encoded(literal: str) -> None:
    """The same by both; a code that is there already stays."""
    form = HttpForm(DestinationSettings("erp", f"https://h{literal}?x=[1]&y={{{{}}}}", kind="http"))
    request = form.request(an_event(), SECRETS)
    target = parsed(request).target
    assert httpx.Request("POST", request.url).url.raw_path == target
    assert unquote_to_bytes(target) == unquote_to_bytes(f"{literal}?x=[1]&y={{}}")


@each_way
def test_a_request_of_kind_http_is_exactly_what_its_settings_say(way: Way) -> None:
    """Line, headers and body on the wire, and not one header more."""

    async def body() -> None:
        async with serving(accepting) as server:
            origin = f"http://127.0.0.1:{server.port}/v1"
            more = {"method": "PUT", "content_type": "text/plain; charset=utf-8"}
            form = HttpForm(settings(origin, idempotency_header="X-Id", **more))
            async with way.to(form) as sender:
                begin = partial(sender.destination.begin, an_event(), SECRETS)
                assert words(await awaited(begin)) == "202"
                answer = await sender.destination.validate(an_event(), SECRETS)
                assert words(answer) == "unreachable no"  # there is no validate_url
        [request] = server.requests
        assert request.line == "PUT /v1/or.der/ak%20%C3%A4b/e%2F1?k=s%2Fe%25c&t=or.der HTTP/1.1"
        assert request.headers == {
            "host": f"127.0.0.1:{server.port}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "text/plain; charset=utf-8",
            "user-agent": f"shipper/{__version__}",
            "x-mixed": "e/1 k%20%C3%A4;or.der, s/e%c",
            "x-key": "from a file",
            "x-id": "e/1",
            "content-length": "23",
        }

    way.run(body())


@each_way
def test_a_header_has_the_letters_that_it_is_written_with(way: Way) -> None:
    """Names have no case, but some servers don't know that."""

    async def body() -> None:
        async with serving(accepting) as server:
            origin = f"http://127.0.0.1:{server.port}"
            form = HttpForm(settings(origin, idempotency_header="X-EVENT-Id"))
            async with way.to(form) as sender:
                begin = partial(sender.destination.begin, an_event(), SECRETS)
                assert words(await awaited(begin)) == "202"
        assert {"X-Mixed", "X-Key", "X-EVENT-Id"} <= set(server.requests[0].names)

    way.run(body())


def test_a_header_of_ones_own_takes_the_place_of_shippers() -> None:
    """Accept and User-Agent may be another; each is there once."""
    headers = {"Accept": HeaderValue(text="application/json"), "USER-AGENT": HeaderValue(text="u")}
    form = HttpForm(DestinationSettings("erp", "https://h/", kind="http", headers=headers))
    fields = parsed(form.request(an_event(), Secrets())).headers
    assert [value for name, value in fields if name in {b"accept", b"user-agent"}] == [
        b"application/json",
        b"u",
    ]


def test_without_a_header_for_it_the_id_is_not_sent() -> None:
    """`idempotency_header = ""` is for an API that refuses what it doesn't know."""
    form = HttpForm(DestinationSettings("erp", "https://h/", kind="http", idempotency_header=""))
    assert b"e/1" not in form.request(an_event(), Secrets()).head()


@pytest.mark.parametrize(
    ("url", "header", "hook"),
    [
        ("https://erp.example/{secret:hook}", "", "%" * 4096),
        ("https://erp.example/{secret:hook}/{type}", "", ".."),
        ("https://erp.example/", "x" * 4000 + "{secret:hook}", "y" * 4001),
    ],
)
def test_a_secret_that_can_not_be_sent_is_no_events_fault(url: str, header: str, hook: str) -> None:
    """Every event would be a dead letter, for what the configuration and a secret say."""
    headers = {"x-h": HeaderValue(text=header)} if header else {}
    form = HttpForm(DestinationSettings("erp", url, kind="http", headers=headers))
    for _ in range(2):
        with pytest.raises(Unsendable, match="no event can be sent with these secrets") as refused:
            form.request(an_event(), Secrets(named={"hook": hook}))
        assert hook[2:] == "" or hook not in str(refused.value)
    good = Secrets(named={"hook": "y" * 2000})
    assert form.request(an_event(), good).head()
    with pytest.raises(Unsendable):
        form.request(an_event(), Secrets(named={"hook": hook}))


def test_a_request_that_can_not_be_shown_is_a_mistake_of_the_configuration() -> None:
    """Not a bug of shipper."""
    url = "https://erp.example/" + "{type}" * 600
    with pytest.raises(ConfigError, match=r"destinations.erp: .* longer than 8000"):
        preview(DestinationSettings("erp", url, kind="http"))


def test_validation_goes_where_validate_url_says() -> None:
    """With the same placeholders and headers, and without an idempotency key: nothing is stored."""
    form = HttpForm(settings(validate_url="https://erp.example:8443/debug?k={secret:hook}&{type}"))
    assert form.can_validate
    found = parsed(form.validation(an_event(), SECRETS))
    assert found.target == b"/debug?k=s%2Fe%25c&or.der"
    assert b"idempotency-key" not in dict(found.headers)
    without = HttpForm(settings())
    assert not without.can_validate
    with pytest.raises(Unsendable):
        without.validation(an_event(), SECRETS)


def test_the_default_form_is_the_vendors() -> None:
    """Braces in its URL mean nothing."""
    form = form_of(DestinationSettings("default", "https://h/{x}"))
    request = form.request(an_event("e"), Secrets(api_id="k"))
    assert request.head().startswith(b"POST /%7Bx%7D HTTP/1.1\r\nhost: h\r\n")

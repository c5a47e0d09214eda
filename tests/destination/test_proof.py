"""How requests of kind http prove who sends them, as an API on a real socket sees them."""

import re
from base64 import b64decode
from email.utils import formatdate
from typing import Any

import pytest
from standardwebhooks import Webhook

from shipper.clock import SystemClock
from shipper.config.destination import AuthSettings, CloudEventsSettings, SignSettings
from shipper.config.secrets import NO_SECRETS, Secrets
from shipper.policy.outcome import Fault, Invalid, Kind, classify
from tests.destination.http_kind import PAYLOAD, an_event, erp, opened, sent
from tests.destination.servers import Request, accepting, answering, serving
from tests.destination.token_endpoints import saying
from tests.destination.ways import Way, each_way, words

EVENTS = CloudEventsSettings("/shops/42", "com.example.")
SIGN = SignSettings("standard-webhooks")
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def arrived(way: Way, secrets: Secrets, *events: Any, **settings: Any) -> list[Request]:
    """Return the requests that an API gets for events."""
    found: list[Request] = []

    async def body() -> None:
        async with serving(accepting) as server:
            async with opened(erp(server.url, way.transport, **settings)) as destination:
                for event in events or (an_event(),):
                    assert words(await sent(destination, secrets, event)) == "202"
            found.extend(server.requests)

    way.run(body())
    return found


@each_way
def test_a_bearer_token_is_sent_as_it_is(way: Way) -> None:
    """RFC 6750, 2.1."""
    [request] = arrived(way, Secrets(token="a.b-c_~+/="), auth=AuthSettings("bearer"))
    assert request.headers["authorization"] == "Bearer a.b-c_~+/="


@each_way
def test_a_user_and_a_password_are_sent_as_utf_8(way: Way) -> None:
    """RFC 7617; a password can hold a colon."""
    secrets, auth = Secrets(password="pass:wört"), AuthSettings("basic", user="Jürgen")
    [request] = arrived(way, secrets, auth=auth)
    word = request.headers["authorization"].removeprefix("Basic ")
    assert b64decode(word).decode() == "Jürgen:pass:wört"


@each_way
def test_without_auth_there_is_no_such_header(way: Way) -> None:
    """Nor one of a signature or of CloudEvents."""
    [request] = arrived(way, NO_SECRETS)
    assert set(request.headers) == {
        "host", "accept", "accept-encoding", "content-type", "user-agent", "idempotency-key",
        "content-length",
    }  # fmt: skip


@each_way
def test_the_body_is_signed_as_it_is_sent(way: Way) -> None:
    """With the time of the try, which the receiver's library compares with its own."""
    payload = '{"type":"order", "note" : "Größe €"}\n'.encode()
    events = [an_event("order.4711", payload), an_event("ä b%")]
    requests = arrived(way, Secrets(signing=WHSEC), *events, sign=SIGN)
    for request in requests:
        Webhook(WHSEC).verify(request.body, request.headers)
        assert abs(int(request.headers["webhook-timestamp"]) - SystemClock().wall()) < 60
    assert [one.headers["webhook-id"] for one in requests] == ["order%2E4711", "%C3%A4%20b%25"]
    assert [one.body for one in requests] == [payload, PAYLOAD]


@each_way
def test_cloudevents_are_headers_beside_the_body(way: Way) -> None:
    """In binary mode; each has its type from the payload."""
    [request] = arrived(way, NO_SECRETS, an_event("e 1", created_at=0.5), cloudevents=EVENTS)
    told = {name: text for name, text in request.headers.items() if name.startswith("ce-")}
    assert told == {
        "ce-specversion": "1.0",
        "ce-id": "e%201",
        "ce-source": "/shops/42",
        "ce-type": "com.example.order",
        "ce-time": "1970-01-01T00:00:00.500Z",
    }
    assert request.headers["content-type"] == "application/json"
    assert request.body == PAYLOAD


@pytest.mark.parametrize(
    ("event_id", "payload", "why"),
    [
        ("e", b"[]", "the event has no type, which CloudEvents asks for"),
        ("e", b'{"type":7}', "the event has no type, which CloudEvents asks for"),
        ("e", b'{"type":"a\\nb"}', "the type holds a character that CloudEvents doesn't allow"),
        ("e\x01", PAYLOAD, "the event id holds a character that CloudEvents doesn't allow"),
    ],
)
async def test_an_event_that_is_no_cloudevent_is_its_own_fault(
    event_id: str, payload: bytes, why: str
) -> None:
    """Nothing is sent of it."""
    async with (
        serving(accepting) as server,
        opened(erp(server.url, cloudevents=EVENTS)) as destination,
    ):
        found = await sent(destination, NO_SECRETS, an_event(event_id, payload))
    assert found == Invalid("unbuildable", why)
    assert server.requests == []


class Wrong(SystemClock):
    """A clock that is wrong by so many seconds."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self._off = off

    def wall(self) -> float:
        """Return the wrong time."""
        return super().wall() + self._off


@pytest.mark.parametrize(
    ("status", "off", "sign", "came"),
    [
        (400, 900.0, SIGN, "clock no"),
        (401, -900.0, SIGN, "clock no"),
        (400, 200.0, SIGN, "400"),
        (400, 900.0, SignSettings(), "400"),
        (500, 900.0, SIGN, "500"),
        (202, 900.0, SIGN, "202"),
    ],
)
async def test_a_clock_that_is_wrong_is_no_events_fault(
    status: int, off: float, sign: SignSettings, came: str
) -> None:
    """A receiver refuses each signature then, and many do so with 400."""
    date = f"date: {formatdate(SystemClock().wall(), usegmt=True)}\r\n"
    async with (
        serving(answering(saying(status, {}, date))) as server,
        opened(erp(server.url, sign=sign), Wrong(off)) as destination,
    ):
        found = await sent(destination, Secrets(signing=WHSEC))
    assert words(found) == came
    if isinstance(found, Fault):
        where = "ahead of" if off > 0 else "behind"
        assert re.search(f"clock is (89|90)[0-9] s {where} the API's", found.detail)
        assert classify(found, 0.0).kind is Kind.MISCONFIGURED

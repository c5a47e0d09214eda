"""The stand-in for any HTTP API: what it takes, and what it can ask for."""

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from shipper.errors import UsageError
from shipper.sandbox import (
    AnyApi,
    Chaos,
    OAuthClient,
    RequestInfo,
    Sandbox,
    secret_key,
    server_context,
)
from shipper.sandbox.signed import TOLERANCE, wrong_signature
from shipper.sandbox.tokens import TOKENS_KEPT, IssuedTokens, basic_pair
from tests.sandbox.rawclient import Received, event, send

# The example of the specification.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CLIENT = OAuthClient("shop", "s%cret:+ ü", 60.0)
NOW = 1_800_000_000.0


def wire(
    *headers: str, method: str = "POST", path: str = "/hooks/order", payload: bytes = b"any"
) -> bytes:
    """Return the bytes of a request."""
    head = [
        f"{method} {path} HTTP/1.1",
        "host: sandbox",
        "connection: close",
        f"content-length: {len(payload)}",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + payload


def basic(name: str, secret: str) -> str:
    """Return the value of Authorization for a user and a password."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def as_client(client: OAuthClient = CLIENT) -> str:
    """Return the header of a client, encoded as RFC 6749, 2.3.1 asks for."""
    return f"authorization: {basic(quote(client.id), quote(client.secret))}"


def asked(
    payload: bytes = b"grant_type=client_credentials", *headers: str, path: str = "/oauth/token"
) -> bytes:
    """Return a request to the OAuth2 server."""
    return wire(
        "content-type: application/x-www-form-urlencoded", *headers, path=path, payload=payload
    )


def token_in(received: Received) -> str:
    """Return the token of an answer."""
    token: str = json.loads(received.body)["access_token"]
    return token


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[Sandbox, AnyApi]]:
    """Run an API that gives tokens to one client."""
    api = AnyApi(client=CLIENT)
    sandbox = Sandbox(api=api)
    async with sandbox.serve():
        yield sandbox, api


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/a/b?c=d", "/analytics/v3/events"])
async def test_any_body_is_an_event_on_any_path(method: str, path: str) -> None:
    """202, without a body; nothing is asked for."""
    sandbox = Sandbox(api=AnyApi())
    async with sandbox.serve() as url:
        received = await send(url, wire("idempotency-key: e-1", method=method, path=path))
    assert (received.status, received.body) == (202, b"")
    assert [visit.key for visit in sandbox.ledger.visits] == ["e-1"]
    assert sandbox.events_url == sandbox.url + "/events"


async def test_another_method_is_refused() -> None:
    """With the ones that there are."""
    sandbox = Sandbox(api=AnyApi())
    async with sandbox.serve() as url:
        received = await send(url, wire(method="DELETE"))
    assert (received.status, received.headers["allow"]) == (405, "POST, PUT, PATCH")
    assert sandbox.ledger.summary().accepted == 0


@pytest.mark.parametrize("header", ["idempotency-key", "webhook-id", "ce-id"])
async def test_the_identity_of_an_event_is_in_one_of_three_headers(header: str) -> None:
    """A second arrival is a repeat, whichever it is."""
    sandbox = Sandbox(api=AnyApi())
    async with sandbox.serve() as url:
        for _ in range(2):
            await send(url, wire(f"{header}: caf%C3%A9"))
    assert sandbox.ledger.visits[0].key == "café"
    assert sandbox.ledger.summary().immediate_repeats == 1


async def test_a_test_sees_the_request_as_it_was_sent() -> None:
    """The target with its query and its escapes, the headers, the body; none is in the repr."""
    seen: list[RequestInfo] = []
    sandbox = Sandbox(api=AnyApi())
    sandbox.answer_for = seen.append
    async with sandbox.serve() as url:
        await send(url, wire("x-secret: SECRET", path="/a%2Fb?k=SECRET", payload=b"SECRET"))
    [info] = seen
    assert (info.target, info.path) == ("/a%2Fb?k=SECRET", "/a/b")
    assert (info.headers["X-Secret"], info.payload) == ("SECRET", b"SECRET")
    assert "SECRET" not in repr(info)


# -- authorization ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer t0ken", 202),
        ("bearer t0ken", 202),
        (basic("till", "pass:word"), 202),
        ("Bearer T0ken", 401),
        ("Bearer ", 401),
        ("t0ken", 401),
        (basic("till", "pass"), 401),
        ("Basic ???", 401),
        ("Basic dGlsbA==", 401),
        ("", 401),
    ],
)
async def test_a_bearer_token_or_a_password_is_asked_for(given: str, status: int) -> None:
    """What is configured is enough; else 401, which says so by its header."""
    sandbox = Sandbox(api=AnyApi(bearer="t0ken", basic=("till", "pass:word")))
    async with sandbox.serve() as url:
        received = await send(url, wire(*([f"authorization: {given}"] if given else [])))
    assert received.status == status
    assert ("www-authenticate" in received.headers) == (status == 401)


async def test_where_only_a_password_is_known_the_answer_asks_for_one() -> None:
    """RFC 9110: a 401 names a scheme that would do."""
    sandbox = Sandbox(api=AnyApi(basic=("till", "word")))
    async with sandbox.serve() as url:
        received = await send(url, wire("authorization: Bearer t"))
    assert received.headers["www-authenticate"] == 'Basic realm="sandbox"'


# -- the OAuth2 server ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["basic", "post"])
async def test_a_client_gets_a_token_and_is_authorised_by_it(
    guarded: tuple[Sandbox, AnyApi], way: str
) -> None:
    """Both ways of RFC 6749; the request for a token is no event."""
    sandbox, api = guarded
    if way == "basic":
        request = asked(b"grant_type=client_credentials&scope=a+b", as_client())
    else:
        form = f"grant_type=client_credentials&client_id=shop&client_secret={quote(CLIENT.secret)}"
        request = asked(form.encode())
    answer = await send(sandbox.url, request)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert {**json.loads(answer.body), "access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 60,
    }
    header = f"authorization: Bearer {token_in(answer)}"
    assert (await send(sandbox.url, wire(header))).status == 202
    assert sandbox.ledger.summary().accepted == 1
    assert api.tokens is not None
    assert api.tokens.given == 1


async def test_without_a_token_there_is_401(guarded: tuple[Sandbox, AnyApi]) -> None:
    """And with one that was never given out."""
    for header in ("x-none: 1", "authorization: Bearer made-up", as_client()):
        received = await send(guarded[0].url, wire(header))
        assert received.status == 401
        assert 'error="invalid_token"' in received.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (asked(b"grant_type=client_credentials", "authorization: Bearer x"), 401, "invalid_client"),
        (asked(b"grant_type=client_credentials"), 401, "invalid_client"),
        (asked(b"client_id=shop&client_secret=no"), 401, "invalid_client"),
        (asked(b"client_id=x", as_client(OAuthClient("shop", "no"))), 401, "invalid_client"),
        (asked(b"client_secret=x", as_client()), 400, "invalid_request"),
        (asked(b"scope=a&scope=b", as_client()), 400, "invalid_request"),
        (asked(b"grant_type=password", as_client()), 400, "unsupported_grant_type"),
        (wire(as_client(), path="/oauth/token"), 400, "invalid_request"),
    ],
)
async def test_a_wrong_request_for_a_token_gets_the_error_of_rfc_6749(
    guarded: tuple[Sandbox, AnyApi], request_: bytes, status: int, error: str
) -> None:
    """With a JSON body that no cache keeps."""
    received = await send(guarded[0].url, request_)
    assert (received.status, json.loads(received.body)["error"]) == (status, error)
    assert received.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in received.headers) == (status == 401)


async def test_a_token_is_only_for_post(guarded: tuple[Sandbox, AnyApi]) -> None:
    """A GET would put the secret into a URL."""
    received = await send(guarded[0].url, wire(method="GET", path="/oauth/token"))
    assert (received.status, received.headers["allow"]) == (405, "POST")


async def test_a_token_can_be_revoked_before_its_time(guarded: tuple[Sandbox, AnyApi]) -> None:
    """By its client, as RFC 7009 says; without a token, all of them."""
    url = guarded[0].url
    revoke = {"path": "/oauth/revoke"}
    first, second, third = [
        token_in(await send(url, asked(b"grant_type=client_credentials", as_client())))
        for _ in range(3)
    ]

    async def statuses() -> list[int]:
        return [
            (await send(url, wire(f"authorization: Bearer {token}"))).status
            for token in (first, second, third)
        ]

    assert (await send(url, asked(f"token={first}".encode(), **revoke))).status == 401
    assert await statuses() == [202, 202, 202]
    assert (await send(url, asked(f"token={first}".encode(), as_client(), **revoke))).status == 200
    assert await statuses() == [401, 202, 202]
    assert (await send(url, asked(b"", as_client(), **revoke))).status == 200
    assert await statuses() == [401, 401, 401]


def test_a_token_ends_and_the_oldest_is_forgotten() -> None:
    """After its lifetime, to the second; and not more than a thousand are known."""
    names = iter(range(10_000))
    tokens = IssuedTokens(CLIENT, lambda: f"t{next(names)}")
    good = RequestInfo(
        "POST",
        "/oauth/token",
        None,
        None,
        b"grant_type=client_credentials",
        {
            "content-type": "application/x-www-form-urlencoded",
            "authorization": as_client().partition(": ")[2],
        },
    )
    assert tokens.answer(good, NOW).status == 200
    assert tokens.is_good("t0", NOW + 59.9)
    assert not tokens.is_good("t0", NOW + 60)
    for _ in range(TOKENS_KEPT):
        tokens.answer(good, NOW)
    assert not tokens.is_good("t0", NOW)
    assert tokens.is_good("t1", NOW)
    assert tokens.given == TOKENS_KEPT + 1


def test_a_client_does_not_show_its_secret() -> None:
    """In its repr; and what isn't basic has no user."""
    assert "cret" not in repr(CLIENT)
    assert basic_pair("Bearer x") is None
    assert basic_pair(basic("ü", ":")) == ("ü", ":")


# -- signatures -------------------------------------------------------------------------------


def signed(payload: bytes, time: object = int(NOW), secret: str = SECRET) -> dict[str, str]:
    """Return the headers of a signature, made as the specification says."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"msg_1.{time}.".encode() + payload
    signature = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(time),
        "webhook-signature": f"v1,{signature}",
    }


OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
GOOD = signed(b"x")


def verdict(headers: dict[str, str], payload: bytes = b"x") -> str | None:
    """Return why these headers don't sign a payload."""
    info = RequestInfo("POST", "/", None, None, payload, headers)
    return wrong_signature(info, [secret_key(SECRET)], NOW)


def test_the_vector_of_the_specification_is_accepted() -> None:
    """Its secret, id, time, body and signature, as the reference libraries have them."""
    info = RequestInfo(
        "POST",
        "/",
        None,
        None,
        b'{"test": 2432232314}',
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
    )
    assert wrong_signature(info, [secret_key(SECRET)], 1614265330.0) is None


@pytest.mark.parametrize(
    "headers",
    [
        GOOD,
        signed(b"x", int(NOW - TOLERANCE)),
        signed(b"x", int(NOW + TOLERANCE)),
        {**GOOD, "webhook-signature": f"v1,AAAA v1a,BBBB {GOOD['webhook-signature']}"},
    ],
)
def test_a_good_signature_is_accepted(headers: dict[str, str]) -> None:
    """Within five minutes, and beside others: two secrets make two while they are rotated."""
    assert verdict(headers) is None


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "missing"),
        ({**GOOD, "webhook-id": ""}, "missing"),
        ({**GOOD, "webhook-timestamp": "soon"}, "number"),
        ({**GOOD, "webhook-timestamp": "٣"}, "number"),
        ({**GOOD, "webhook-timestamp": "NaN"}, "number"),
        ({**GOOD, "webhook-timestamp": "9" * 5000}, "number"),
        ({**GOOD, "webhook-timestamp": "9" * 20}, "five minutes"),
        (signed(b"x", int(NOW - TOLERANCE - 1)), "five minutes"),
        (signed(b"x", int(NOW + TOLERANCE + 1)), "five minutes"),
        ({**GOOD, "webhook-id": "msg_2"}, "no signature"),
        ({**GOOD, "webhook-signature": ""}, "no signature"),
        ({**GOOD, "webhook-signature": "v1,\u00e9\udcff"}, "no signature"),
        ({**GOOD, "webhook-id": "\u00e9\udcff"}, "no signature"),
        (signed(b"y"), "no signature"),
        (signed(b"x", secret=OTHER), "no signature"),
        ({**GOOD, "webhook-signature": GOOD["webhook-signature"].replace("v1", "v2")}, "no sig"),
    ],
)
def test_anything_else_is_said_to_be_wrong(headers: dict[str, str], why: str) -> None:
    """With a reason that a developer can act on."""
    assert why in (verdict(headers) or "")


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", SECRET[6:], "whsec_%%%%", "whsec_" + base64.b64encode(b"k" * 23).decode(),
     "whsec_" + base64.b64encode(b"k" * 65).decode()],
)  # fmt: skip
def test_a_secret_of_another_form_is_refused_without_being_shown(text: str) -> None:
    """whsec_ and 24 to 64 bytes in base64."""
    with pytest.raises(UsageError, match="24 to 64") as refused:
        secret_key(text)
    body = text.removeprefix("whsec_")
    assert not body or body not in f"{refused.value.message} {refused.value.hint}"


async def test_a_request_without_a_good_signature_gets_401() -> None:
    """By the sandbox's own clock."""
    sandbox = Sandbox(api=AnyApi(sign_keys=[secret_key(SECRET)]))
    async with sandbox.serve() as url:
        old = [f"{name}: {value}" for name, value in signed(b"any", 1).items()]
        received = await send(url, wire(*old))
        assert (received.status, b"five minutes" in received.body) == (401, True)
        now = signed(b"any", int(sandbox._clock.wall()))
        new = [f"{name}: {value}" for name, value in now.items()]
        assert (await send(url, wire(*new))).status == 202


# -- certificates -----------------------------------------------------------------------------


def written(directory: Path) -> tuple[Path, Path, trustme.CA]:
    """Write a server's certificate with its key, and the authority of the clients."""
    authority = trustme.CA()
    cert, ca = directory / "server.pem", directory / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(cert)
    authority.cert_pem.write_to_path(ca)
    return cert, ca, authority


async def test_a_client_needs_a_certificate_of_the_authority(tmp_path: Path) -> None:
    """Without one, or with another authority's, no request gets through."""
    cert, ca, authority = written(tmp_path)
    sandbox = Sandbox(api=AnyApi(), ssl_context=server_context(cert, None, ca))
    async with sandbox.serve() as url:
        for issuer, status in ((None, None), (trustme.CA(), None), (authority, 202)):
            client = ssl.create_default_context()
            authority.configure_trust(client)
            if issuer is not None:
                issuer.issue_cert("till").configure_cert(client)
            try:
                received = await send(url, wire(), client)
            except ssl.SSLError:
                received = Received(b"")
            assert (received.status if received.raw else None) == status
    assert sandbox.ledger.summary().requests == 1


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    """Missing, or without a key, or no authority."""
    cert, ca, _ = written(tmp_path)
    none = tmp_path / "none.pem"
    for files in ((none,), (ca,), (cert, None, none)):
        with pytest.raises(UsageError, match=r"certificates .*\.pem"):
            server_context(*files)


# -- faults for some requests -----------------------------------------------------------------


async def test_a_fault_can_be_for_a_path_or_a_header() -> None:
    """The first item that hits counts; other requests have the faults for all."""
    spec = "503:1:2s@/oauth/token,422:1@x-tenant=42,drop:1@/drop,409:0@/zero,429:1"
    sandbox = Sandbox(api=AnyApi(client=CLIENT), chaos=Chaos.parse(spec))
    async with sandbox.serve() as url:
        refused = await send(url, asked(b"grant_type=client_credentials", as_client()))
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        assert (await send(url, wire("X-Tenant: 42"))).status == 422
        assert (await send(url, wire(path="/drop?x=1"))).raw == b""
        for other in (wire("x-tenant: 43"), wire(path="/zero")):
            assert (await send(url, other)).status == 429


async def test_a_status_of_success_for_a_path_still_checks_the_request() -> None:
    """It changes the answer only: an event that isn't authorised stays refused."""
    sandbox = Sandbox(api=AnyApi(bearer="t"), chaos=Chaos.parse("204:1@/hooks/order"))
    async with sandbox.serve() as url:
        assert (await send(url, wire())).status == 401
        assert (await send(url, wire("authorization: Bearer t"))).status == 204
    assert sandbox.ledger.summary().accepted == 1


async def test_the_vendors_api_can_refuse_one_event() -> None:
    """By its idempotency key."""
    sandbox = Sandbox("any", chaos=Chaos.parse("422:1@idempotency-key=order-4711"))
    async with sandbox.serve() as url:
        for key, status in (("order-4711", 422), ("order-4712", 202)):
            data = wire(
                f"idempotency-key: {key}",
                "x-api-id: any",
                path="/analytics/v3/events",
                payload=event(),
            )
            assert (await send(url, data)).status == status


@pytest.mark.parametrize("where", ["", "hooks", "=x"])
def test_an_aim_that_names_no_requests_is_refused(where: str) -> None:
    """With the way to write it."""
    with pytest.raises(UsageError, match="names no requests") as refused:
        Chaos.parse(f"503:1@{where}")
    assert refused.value.hint == "write @/PATH or @HEADER=VALUE after the item"

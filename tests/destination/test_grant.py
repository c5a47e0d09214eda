"""What a token endpoint is asked, and what its answers mean."""

from base64 import b64decode
from urllib.parse import parse_qsl, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.destination.grant import Credentials, Token, token_of
from shipper.policy.outcome import Fault, Kind, Reply, classify
from tests.destination.token_endpoints import saying

WHERE = "auth.example:443"
SECRET = "canary-9f2"
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)


def reply(status: int, body: object, **more: str) -> Reply:
    """Return an answer with a JSON body, or with bytes as they are."""
    content = saying(200, body).partition(b"\r\n\r\n")[2]
    return Reply(status, more.get("content_type", "application/json"), body=content)


def test_the_header_of_the_specification() -> None:
    """The vector of openid/AppAuth-Android#337: both parts are encoded as in a form."""
    asked = Credentials("1PpG/Q 1", "z/tZ9VwFZqApmIQ+ZH1I5pLk/uB4ud:X2/8bL+wfFTt1rFw=")
    assert asked.authorization == (
        "Basic MVBwRyUyRlErMTp6JTJGdFo5VndGWnFBcG1JUSUyQlpIMUk1cExrJTJGdUI0dWQlM0FYMiUyRjhiTCUy"
        "QndmRlR0MXJGdyUzRA=="
    )


@given(TEXTS, TEXTS)
def test_an_endpoint_reads_the_credentials_that_were_written(client: str, secret: str) -> None:
    """Whatever characters they have, in the header and in the body."""
    basic = Credentials(client, secret)
    name, _, word = b64decode(basic.authorization.removeprefix("Basic ")).decode().partition(":")
    assert (unquote_plus(name), unquote_plus(word)) == (client, secret)
    assert dict(parse_qsl(basic.body.decode())) == {"grant_type": "client_credentials"}
    post = Credentials(client, secret, client_auth="post")
    assert post.authorization == ""
    fields = dict(parse_qsl(post.body.decode(), keep_blank_values=True))
    assert (fields["client_id"], fields["client_secret"]) == (client, secret)


def test_a_scope_and_an_audience_are_asked_for() -> None:
    """If they are set."""
    asked = Credentials("c", "s", scope="a b", audience="https://erp.example/")
    assert dict(parse_qsl(asked.body.decode())) == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "audience": "https://erp.example/",
    }


@pytest.mark.parametrize(
    ("given_seconds", "seconds"),
    [
        (3600, 3600.0),
        (0.5, 0.5),
        ("3599", 3599.0),  # guillp/requests_oauth2client#26: it was never renewed
        ("3599.7", 3599.7),
        (10**15, 1e15),
        (0, None),
        (-1, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        (None, None),
        (True, None),
        ([3600], None),
    ],
)
def test_how_long_a_token_lives(given_seconds: object, seconds: float | None) -> None:
    """As numbers and as texts; what makes no sense counts as not said."""
    body = {"access_token": "t", "token_type": "BEARER", "expires_in": given_seconds}
    assert token_of(reply(200, body), 0.0, WHERE) == Token("t", seconds)


def test_a_type_that_is_left_out_is_bearer() -> None:
    """Some servers do so."""
    assert token_of(reply(201, {"access_token": "t"}), 0.0, WHERE) == Token("t", None)
    body = b'\xef\xbb\xbf{"access_token":"t"}'
    assert token_of(reply(200, body), 0.0, WHERE) == Token("t", None)


REFUSED = [
    (reply(400, {"error": "invalid_scope"}), "HTTP 400, invalid_scope"),
    (reply(401, {"error": "invalid_client"}), "HTTP 401, invalid_client"),
    (reply(401, {"error": SECRET}), "HTTP 401"),
    (reply(401, SECRET.encode()), "HTTP 401"),
    (reply(403, {}), "HTTP 403"),
    (reply(404, {}), "HTTP 404"),
    (reply(302, b""), "HTTP 302"),
    # Some servers refuse with 200.
    (reply(200, {"error": "invalid_client", "access_token": SECRET}), "HTTP 200, invalid_client"),
    (reply(200, {"access_token": ""}), "an answer without access_token"),
    (reply(200, {"access_token": 7}), "an answer without access_token"),
    (reply(200, {"id_token": SECRET}), "an answer without access_token"),
    (reply(200, {"access_token": f"{SECRET}\r\nx: y"}), "a token with characters that can't be"),
    (reply(200, {"access_token": f"{SECRET} x"}), "a token with characters that can't be"),
    (reply(200, {"access_token": f"{SECRET}ä"}), "a token with characters that can't be"),
    (reply(200, {"access_token": SECRET, "token_type": "mac"}), "another type than Bearer"),
    (reply(200, {"access_token": SECRET, "token_type": None}), "another type than Bearer"),
]
PASSING = [
    (reply(429, {"error": "invalid_client"}), "HTTP 429"),
    (reply(500, SECRET.encode()), "HTTP 500"),
    (reply(503, {}), "HTTP 503"),
    (reply(200, b"<html>log in</html>", content_type="text/html"), "HTTP 200"),
    (reply(200, SECRET.encode()), "isn't JSON"),
    (reply(200, f'{{"access_token":"{SECRET}'.encode()), "isn't JSON, or longer than 64 KiB"),
    (reply(200, b"[]"), "isn't JSON"),
    (reply(200, b"[" * 60_000), "isn't JSON"),
    (reply(204, b""), "isn't JSON"),
]


@pytest.mark.parametrize(("answer", "why"), REFUSED)
def test_an_endpoint_that_refuses_pauses_the_link(answer: Reply, why: str) -> None:
    """The credentials are to be mended; no part of the answer is shown."""
    found = token_of(answer, 0.0, WHERE)
    assert isinstance(found, Fault)
    assert (found.kind, found.sent) == ("credentials", "no")
    assert found.detail.startswith(f"the token endpoint {WHERE} gives no token: ")
    assert why in found.detail
    assert SECRET not in found.detail
    outcome = classify(found, 0.0)
    assert (outcome.kind, outcome.reached) == (Kind.MISCONFIGURED, False)


@pytest.mark.parametrize(("answer", "why"), PASSING)
def test_an_endpoint_that_fails_is_waited_for(answer: Reply, why: str) -> None:
    """As the link's fault, which passes by itself."""
    found = token_of(answer, 0.0, WHERE)
    assert isinstance(found, Fault)
    assert (found.kind, found.sent) == ("token", "no")
    assert why in found.detail
    assert SECRET not in found.detail
    outcome = classify(found, 0.0)
    assert (outcome.kind, outcome.reached) == (Kind.TRANSIENT, False)


def test_neither_shows_itself() -> None:
    """A traceback or a log may have their text."""
    assert SECRET not in repr(Credentials("client", SECRET))
    assert SECRET not in repr(Token(SECRET, 1.0))

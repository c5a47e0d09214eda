"""Signatures of Standard Webhooks, against vectors of another implementation and of the authors."""

import re
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from shipper.config.signing import parse_secrets
from shipper.destination.signature import Signer, message_id

BODY = b'{"type":"order","note":"gr\xc3\xbc\xc3\x9fe"}'
KEYS = st.binary(min_size=24, max_size=64)


def written(key: bytes) -> str:
    """Write a key as a line of the file."""
    return f"whsec_{b64encode(key).decode()}"


def test_the_vector_of_the_authors() -> None:
    """As the tests of the reference libraries have it."""
    secrets = parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    event_id, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
    assert Signer(secrets).headers(event_id, body, 1614265330.9) == [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]


@given(
    st.text(st.characters(codec="utf-8"), min_size=1),
    KEYS,
    st.text(),
    st.integers(0, 4_000_000_000),
)
def test_another_implementation_signs_the_same(
    event_id: str, key: bytes, text: str, second: int
) -> None:
    """For every id, secret, body and time."""
    found = dict(Signer([key]).headers(event_id, text.encode("utf-8", "surrogatepass"), second))
    name = found["webhook-id"]
    data = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if data == text:
        moment = datetime.fromtimestamp(second, UTC)
        assert found["webhook-signature"] == Webhook(written(key)).sign(name, moment, data)
    assert "." not in name
    assert all("!" <= character <= "~" for character in name)


def test_while_a_secret_rotates_both_receivers_are_content() -> None:
    """The one that knows only the old secret, and the one that knows only the new one."""
    new, old, other = b"n" * 24, b"o" * 64, b"x" * 32
    secrets = parse_secrets(f"{written(new)}\r\n{written(old)}\r\n")
    assert secrets == (new, old)
    wall = datetime.now(UTC).timestamp()
    found = dict(Signer(secrets).headers("order.4711", BODY, wall))
    for key in (new, old):
        Webhook(written(key)).verify(BODY, found)
    first = dict(Signer([new]).headers("order.4711", BODY, wall))
    assert found["webhook-signature"].startswith(f"{first['webhook-signature']} v1,")
    with pytest.raises(WebhookVerificationError):
        Webhook(written(other)).verify(BODY, found)
    with pytest.raises(WebhookVerificationError):
        Webhook(written(new)).verify(BODY + b" ", found)


def test_a_dot_in_an_id_is_written_otherwise() -> None:
    """What is signed has dots between its parts: `a.1` at 2 and `a` at `1.2` must not be alike."""
    assert message_id("order.4711") == "order%2E4711"
    assert message_id("50%.ä b") == "50%25%2E%C3%A4%20b"
    assert message_id("order%2E4711") == "order%252E4711"
    assert message_id("a\udcffb") == "a%FFb"
    with pytest.raises(UnicodeEncodeError):
        message_id("a\ud800")


@pytest.mark.parametrize("size", [24, 25, 26, 63, 64])
def test_a_secret_of_a_fitting_size_is_taken(size: int) -> None:
    """With its padding and without, as the vendors' pages show it."""
    key = bytes(range(size))
    line = written(key)
    assert parse_secrets(line) == parse_secrets(line.rstrip("=")) == (key,)
    assert parse_secrets(f"\n  {line}\t\n\n") == (key,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "one or two secrets, each on its line, but has 0"),
        ("\n".join([written(b"k" * 24)] * 3), "but has 3"),
        (written(b"k" * 23), "line 1: must have 24 to 64 bytes after whsec_"),
        (written(b"k" * 65), "line 1: must have 24 to 64 bytes"),
        (b64encode(b"k" * 24).decode(), "line 1: must begin with whsec_"),
        (f"\ufeff{written(b'k' * 24)}", "line 1: must begin with whsec_"),
        (f"{written(b'k' * 24)}\n\nwhsk_abc", "line 3: a key for ed25519"),
        # A lenient decoder would drop these characters, and sign with a key that nothing else has.
        ("whsec_" + "ab-_" * 8, "line 1: isn't base64"),
        ("whsec_" + "abcd" * 4 + " " + "abcd" * 4, "line 1: isn't base64"),
        ("whsec_" + "a" * 33, "line 1: isn't base64"),
        ("whsec_" + "ä" * 32, "line 1: isn't base64"),
        (f"{written(b'k' * 24)} {written(b'l' * 24)}", "line 1: isn't base64"),
    ],
)
def test_what_is_no_secret_is_refused(text: str, why: str) -> None:
    """With the line and the reason, without a part of the secret."""
    with pytest.raises(ValueError, match=re.escape(why)) as refused:
        parse_secrets(text)
    assert "kkk" not in str(refused.value)
    assert "a2tr" not in str(refused.value)

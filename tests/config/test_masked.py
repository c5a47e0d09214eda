"""A secret that a receiver throws back is found, however it is written."""

import base64
import html
import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shipper.policy.masking import _spellings, masked
from shipper.policy.outcome import EXCERPT_CHARS, Reply, excerpt

SECRET = "s3cr&t-Id/42+x=="
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON, slashes escaped": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "JSON, all escaped": lambda s: "".join(f"\\u{ord(c):04X}" for c in s),
    "JSON in JSON": lambda s: json.dumps(json.dumps(s).replace("/", "\\/"))[3:-3],
    "HTML": html.escape,
    "HTML, numbers": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "HTML, hexadecimal": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "a URL's path": quote,
    "a URL's query": lambda s: quote(s, safe=""),
    "a form": quote_plus,
    "percent signs for all": lambda s: "".join(f"%{ord(c):02x}" for c in s),
    "percent signs twice": lambda s: quote(quote(s, safe=""), safe=""),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "Basic credentials": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "Basic credentials, one more": lambda s: base64.b64encode(f"users:{s}".encode()).decode(),
    "Basic credentials, two more": lambda s: base64.b64encode(f"userxx:{s}".encode()).decode(),
    "base64 within": lambda s: base64.b64encode(f'{{"k":"{s}","l":1}}'.encode()).decode(),
    "hexadecimal": lambda s: s.encode().hex(),
    "hexadecimal, capitals": lambda s: s.encode().hex().upper(),
}


def _decoded(word: str) -> Iterator[bytes]:
    for at in range(4):
        whole = word[at : at + (len(word) - at) // 4 * 4]
        yield base64.b64decode(whole.replace("-", "+").replace("_", "/"))


def _parts(spelled: str) -> set[str]:
    """Return pieces of a spelling of which none may be left: half of one is as good as all."""
    return {spelled[at : at + 8] for at in range(0, max(1, len(spelled) - 8), 4)}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "around", ["{}", 'HTTP 401: key "{}" is unknown', "a" * 490 + "{}", "{}" * 3]
)
def test_a_secret_is_masked_in_every_usual_spelling(spelling: str, around: str) -> None:
    """In the body, and in where a redirect leads to."""
    spelled = SPELLINGS[spelling](SECRET)
    core = SPELLINGS[spelling](SECRET) if "64" not in spelling and "Basic" not in spelling else ""
    told = masked(
        Reply(401, body=around.format(*[spelled] * 3).encode(), location=f"/?{spelled}"), (SECRET,)
    )
    shown = f"{excerpt(told.body)} {told.location}"
    assert "****" in told.body.decode()
    assert not any(part in shown for part in _parts(core)) or not core
    for word in re.findall(r"[A-Za-z0-9+/_-]{8,}", shown):
        assert not any(SECRET[3:10].encode() in decoded for decoded in _decoded(word))
    assert SECRET not in shown


@given(
    secret=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=60),
    before=st.text(max_size=700),
    spelling=st.sampled_from(sorted(SPELLINGS)),
)
def test_whatever_the_secret_is(secret: str, before: str, spelling: str) -> None:
    """And wherever an excerpt ends."""
    spelled = SPELLINGS[spelling](secret).encode()
    body = before.encode("utf-8", "replace") + spelled
    assume(
        body.find(spelled) == len(body) - len(spelled)
    )  # else a mask takes part of what is before
    told = masked(Reply(401, body=body), (secret,))
    assert spelled[2:-4] not in told.body.replace(before.encode("utf-8", "replace"), b"")
    assert secret.encode() not in told.body


@pytest.mark.parametrize("size", [8_001, 8_010, 9_000, 70_000])
def test_a_secret_at_the_end_of_what_is_looked_at_is_not_cut_in_two(size: int) -> None:
    """Its beginning would be shown."""
    for unit in (
        SECRET,
        SPELLINGS["HTML, numbers"](SECRET),
        SPELLINGS["percent signs twice"](SECRET),
    ):
        body = (unit * (size // len(unit) + 1))[:size].encode()
        told = masked(Reply(401, body=body), (SECRET,), 16 * EXCERPT_CHARS)
        assert unit[:6] not in told.body.decode()


@pytest.mark.parametrize(
    "body", [b"\\" * 65_000, b"&#0" + b"0" * 65_000, b"%25" * 21_000, b"s3" * 32_000]
)
def test_no_answer_takes_long_to_be_looked_at(body: bytes) -> None:
    """What is looked at is bounded; so is what is tried at each place."""
    assert masked(Reply(401, body=body), (SECRET,), 16 * EXCERPT_CHARS).body


def test_a_short_secret_is_not_found_by_chance() -> None:
    """Three bytes are four characters of base64, which are in any text."""
    body = b"YWJj and 616263 and abc"
    assert masked(Reply(401, body=body), ("abc",)).body == b"YWJj and 616263 and ****"


def test_all_secrets_of_a_destination_are_masked() -> None:
    """Also if one is a part of another, or one ends the other's beginning."""
    secrets = ("key-1", "token-key-1-long", "s/e c")
    told = masked(Reply(401, body=b"no token-key-1-long, key-1, s%2Fe%20c or s/e c"), secrets)
    assert told.body == b"no ****, ****, **** or ****"
    again = masked(Reply(302, location="https://l.example/?t=s%2Fe+c+key-1"), secrets)
    assert again.location == "https://l.example/?t=****+****"
    cut = masked(Reply(500, body=b"x" * 7990 + b"token-key-1-long"), secrets, 16 * EXCERPT_CHARS)
    assert b"token" not in cut.body


LONG = "eyJhbGciOiJSUzI1NiJ9." + "aB3_-~x/+=" * 190


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_long_secret_is_masked_in_every_usual_spelling(spelling: str) -> None:
    """Such as an access token of two thousand characters; what is before it stays."""
    told = masked(Reply(401, body=f"no token {SPELLINGS[spelling](LONG)}!".encode()), (LONG,))
    assert told.body.startswith(b"no token ")
    assert b"****" in told.body
    assert len(told.body) < 100
    plain = masked(Reply(401, body=f"no token {LONG}, nor another".encode()), (LONG,))
    assert plain.body == b"no token ****, nor another"


def test_a_long_secret_costs_little() -> None:
    """Its pattern would otherwise take seconds to compile, between the answers of other APIs."""
    short, long = (len(_spellings(LONG[:size])) for size in (64, len(LONG)))
    assert long < 2 * short + 15 * len(LONG)


@pytest.mark.parametrize("cut", [1, 23, 50, 1800])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_long_secret_at_the_end_of_what_is_read_leaves_nothing(spelling: str, cut: int) -> None:
    """Of its beginning in any spelling, and there is something left to read before it."""
    spelled = SPELLINGS[spelling](LONG)
    most = 16 * EXCERPT_CHARS
    body = ("x" * (most - cut) + spelled + "y" * most).encode()
    told = masked(Reply(401, body=body), (LONG,), most)
    assert len(told.body) > EXCERPT_CHARS
    assert set(told.body) <= set(b"x*")

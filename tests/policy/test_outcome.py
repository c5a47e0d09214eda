"""Every answer means what the table of the design says."""

import time
from datetime import UTC, datetime
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.policy.masking import masked
from shipper.policy.outcome import (
    EXCERPT_CHARS,
    RETRY_AFTER_MAX,
    Fault,
    FaultKind,
    Invalid,
    Kind,
    Outcome,
    Reply,
    classify,
    excerpt,
    parse_retry_after,
)

PORTAL = ", perhaps the login page of a captive portal"
_NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp()
_DATE = "Mon, 23 Nov 2026 12:00:00 GMT"

# Written from the design, not from the code: what isn't named in a row is transient.
_TABLE = {
    **dict.fromkeys(range(200, 300), Kind.ACCEPTED),
    **dict.fromkeys(range(300, 400), Kind.MISCONFIGURED),
    400: Kind.REFUSED,
    401: Kind.MISCONFIGURED,
    403: Kind.MISCONFIGURED,
    404: Kind.MISCONFIGURED,
    405: Kind.MISCONFIGURED,
    407: Kind.MISCONFIGURED,
    409: Kind.REFUSED,
    410: Kind.MISCONFIGURED,
    413: Kind.REFUSED,
    415: Kind.REFUSED,
    421: Kind.MISCONFIGURED,
    422: Kind.REFUSED,
    429: Kind.THROTTLED,
    451: Kind.MISCONFIGURED,
}
_STATUSES = [*range(100, 600), 600, 999]


@pytest.mark.parametrize("status", _STATUSES)
def test_a_status_means_what_the_table_says(status: int) -> None:
    """Every status there is, without any header."""
    outcome = classify(Reply(status, body=b'{"no": 1}'), _NOON)
    assert outcome.kind is _TABLE.get(status, Kind.TRANSIENT)
    assert outcome.status_code == status
    assert outcome.retry_after is None
    assert not outcome.maybe_received


@pytest.mark.parametrize("status", _STATUSES)
def test_retry_after_matters_for_429_and_503_alone(status: int) -> None:
    """Of all others it says nothing: a 500 or a 301 with Retry-After is what it is without."""
    outcome = classify(Reply(status, retry_after="7"), _NOON)
    expected = Kind.THROTTLED if status in {429, 503} else _TABLE.get(status, Kind.TRANSIENT)
    assert outcome.kind is expected
    assert outcome.retry_after == (7.0 if status in {429, 503} else None)


@pytest.mark.parametrize("value", ["", "soon", "-1", "Mon, 99 Nov 2026 12:00:00 GMT"])
def test_an_unreadable_retry_after_is_none_at_all(value: str) -> None:
    """Then a 503 is an ordinary failure, and a 429 asks for a pause of our own choosing."""
    assert classify(Reply(503, retry_after=value), _NOON).kind is Kind.TRANSIENT
    throttled = classify(Reply(429, retry_after=value), _NOON)
    assert (throttled.kind, throttled.retry_after) == (Kind.THROTTLED, None)


@pytest.mark.parametrize("kind", get_args(FaultKind))
@pytest.mark.parametrize("sent", ["no", "maybe"])
def test_a_fault_is_transient_unless_a_person_has_to_act(
    kind: FaultKind, sent: Literal["no", "maybe"]
) -> None:
    """TLS that fails, and credentials that are refused; everything else passes by itself."""
    outcome = classify(Fault(kind, sent, "why"), _NOON)
    assert outcome == Outcome(
        Kind.MISCONFIGURED if kind in {"tls", "credentials", "clock"} else Kind.TRANSIENT,
        cause=kind,
        detail="why",
        maybe_received=sent == "maybe",
        reached=sent == "maybe",
    )


@pytest.mark.parametrize("cause", ["invalid", "unbuildable"])
def test_an_event_that_cannot_be_sent_is_refused(cause: Literal["invalid", "unbuildable"]) -> None:
    """It was never sent, so the receiver can't have it."""
    expected = Outcome(Kind.REFUSED, cause=cause, detail="no type")
    assert classify(Invalid(cause, "no type"), _NOON) == expected


def test_only_what_is_never_sent_says_nothing_about_the_link() -> None:
    """A refusal by the API does, and so does a try that got nowhere."""
    assert classify(Invalid("unbuildable", "no type"), _NOON).is_unsent_refusal
    assert not classify(Reply(422), _NOON).is_unsent_refusal
    assert not classify(Fault("refused", "no", "why"), _NOON).is_unsent_refusal


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<!doctype html>"),
        ("text/html; charset=utf-8", b"<html>"),
        ("TEXT/HTML", b"  \r\n\t<html>"),
        (" text/html ;x", b"\xef\xbb\xbf<html>"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_page_instead_of_an_answer_is_a_portal(
    status: int, content_type: str, body: bytes
) -> None:
    """It must never count as accepted, and an operator can't fix it."""
    outcome = classify(Reply(status, content_type, body=body), _NOON)
    assert (outcome.kind, outcome.cause) == (Kind.TRANSIENT, "portal")
    assert outcome.detail == "a web page came instead of the API's answer"
    assert outcome.excerpt


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b""),
        ("", b"<html>"),
        ("application/xml", b"<ok/>"),
        ("application/xhtml+xml", b"<html>"),
        ("text/html", b""),
        ("text/html", b"OK"),
        ("text/html", b'{"a":"<"}'),
        ("text/plain", b"<html>"),
        ("\x00", b"\xff\xfe<"),
    ],
)
def test_any_other_success_is_accepted(content_type: str, body: bytes) -> None:
    """With or without a body or a content type; both signs of a portal are needed."""
    outcome = classify(Reply(200, content_type, body=body), _NOON)
    assert outcome == Outcome(Kind.ACCEPTED, cause="accepted", status_code=200)


def test_a_portal_may_admit_that_it_is_one() -> None:
    """511 is the portal's own status (RFC 6585)."""
    outcome = classify(Reply(511), _NOON)
    assert (outcome.kind, outcome.cause) == (Kind.TRANSIENT, "portal")


def test_a_page_with_a_failure_is_the_failure() -> None:
    """Its status says already that nothing was accepted."""
    outcome = classify(Reply(300, "text/html", body=b"<html>"), _NOON)
    assert (outcome.cause, outcome.detail) == ("http-300", "the API offers several addresses")


def test_a_failure_says_what_it_was_and_shows_the_beginning_of_the_answer() -> None:
    """The cause is short, to group by; the excerpt is for a person."""
    outcome = classify(Reply(422, body=b'[{"keyword":\n"required"}]'), _NOON)
    assert (outcome.cause, outcome.detail) == ("http-422", "the API refuses the event")
    assert outcome.excerpt == '[{"keyword": "required"}]'


@pytest.mark.parametrize("status", [*range(300, 1000), 200])
def test_a_status_is_said_once_and_in_words(status: int) -> None:
    """Where the cause has it, the detail has what it means, and of which host and port."""
    reply = Reply(status, "text/html", body=b"<html>")
    outcome = classify(reply, _NOON, "api.example:443")
    assert str(status) not in outcome.detail.removesuffix(" (api.example:443)")
    assert outcome.detail.endswith(" (api.example:443)")
    assert len(outcome.detail) < 100
    assert outcome.reason == f"HTTP {status}: {outcome.detail}"


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://login.hotel.example/", f"it points to https://login.hotel.example{PORTAL}"),
        ("http://10.0.0.1:8880/guest?t=token#x", f"it points to http://10.0.0.1:8880{PORTAL}"),
        ("https://eve:pw@api.example.net/", f"it points to https://api.example.net{PORTAL}"),
        ("//login.example", f"it points to //login.example{PORTAL}"),
        ("https://[2001:db8::1]:8443/a", f"it points to https://[2001:db8::1]:8443{PORTAL}"),
        ("https://api.example/v3/events/", "it points to https://api.example"),
        ("http://API.example:80/v3", "it points to http://api.example:80"),
        ("/v3/events/;jsessionid=4711?x=y", "it points to another path of the same host"),
        ("https://l.exa\x1bm\x07ple/\x00", f"it points to https://l.exa_m_ple{PORTAL}"),
        ("https://" + "a" * 5000 + "/", f"it points to https://{'a' * 253}{PORTAL}"),
        ("http://[::1/", "it points to an invalid address"),
        ("http://h.example:99999/", "it points to an invalid address"),
        ("?only=a&query", "it points to another path of the same host"),
        ("", "the API has moved, but gives no new address"),
        (None, "the API has moved, but gives no new address"),
    ],
)
def test_a_redirect_says_where_it_points_to(location: str | None, told: str) -> None:
    """Enough to know a portal by; no token, no password, nothing that moves a cursor."""
    outcome = classify(Reply(302, location=location), _NOON, "api.example:443")
    assert (outcome.cause, outcome.detail) == ("http-302", f"{told} (api.example:443)")


def test_only_a_redirect_points_anywhere() -> None:
    """A 201 names what it made, and a 404 means nothing by it."""
    outcome = classify(Reply(404, location="https://l.example/"), _NOON)
    assert outcome.detail == "nothing answers at this path"


def test_a_secret_is_masked_in_a_location_too() -> None:
    """Whatever a receiver throws back."""
    answer = masked(Reply(302, location="https://l.example/geheim/x"), ("geheim",))
    assert answer.location == "https://l.example/****/x"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7\t", 7.0),
        ("000000000000000007", 7.0),
        ("86400", 86400.0),
        ("86401", RETRY_AFTER_MAX),
        ("9" * 5000, RETRY_AFTER_MAX),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Monday, 23-Nov-26 12:00:30 GMT", 30.0),
        ("Mon Nov 23 12:00:30 2026", 30.0),
        ("Mon, 23 Nov 2026 13:00:30 +0100", 30.0),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_MAX),
        ("Fri, 31 Dec 9999 23:59:59 -2359", RETRY_AFTER_MAX),
        (None, None),
        ("", None),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("5, 6", None),
        ("1e3", None),
        ("\u0663", None),
        ("120 seconds", None),
        ("inf", None),
        ("nan", None),
        ("Mon, 23 Nov 20266 12:00:00 GMT", None),
        ("Mon, 23 Nov 2026 25:00:00 GMT", None),
        ("Mon, 23 Nov 2026 12:00:00 +9999", None),
    ],
)
def test_retry_after_has_two_forms_and_a_ceiling(value: str | None, seconds: float | None) -> None:
    """Seconds or a date (RFC 9110, 10.2.3), never negative, never beyond a day."""
    assert parse_retry_after(value, _DATE, 0.0) == seconds


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 23 Nov 20266 12:00:00 GMT"])
def test_without_a_date_of_its_own_an_answer_is_measured_by_our_clock(date: str | None) -> None:
    """Also where its Date can't be read."""
    assert parse_retry_after("Mon, 23 Nov 2026 12:00:30 GMT", date, _NOON) == 30.0


def test_a_date_is_measured_against_the_answers_own_date() -> None:
    """The two clocks need not agree: ours may be years behind."""
    assert parse_retry_after("Mon, 23 Nov 2026 12:00:30 GMT", _DATE, 0.0) == 30.0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("date", "wall"), [(_DATE, 0.0), (None, _NOON)])
def test_an_answer_that_asks_for_a_pause_says_how_long(
    status: int, date: str | None, wall: float
) -> None:
    """By its own Date, else by our clock."""
    reply = Reply(status, retry_after="Mon, 23 Nov 2026 12:00:30 GMT", date=date)
    assert classify(reply, wall).retry_after == 30.0


def test_a_date_without_a_zone_is_no_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP knows no time but GMT, wherever the daemon runs."""
    monkeypatch.setenv("TZ", "XYZ-7")
    time.tzset()
    try:
        assert parse_retry_after("Mon Nov 23 12:00:30 2026", None, _NOON) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


_WORD = st.sampled_from(
    ["Mon,", "Mon", "23", "Nov", "2026", "12:00:30", "12:00", "GMT", "-0000", "+2400", "9999", "0",
     "-", ":", "(", '"', "\x00", "99999999999", "\u0663", "Nov-23-", "AM", "1-1-1", "/", "."]
)  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(_WORD, max_size=8).map(" ".join)), st.text())
def test_no_header_can_break_it(value: str, date: str) -> None:
    """Whatever stands there, the answer is None or a wait within a day."""
    seconds = parse_retry_after(value, date, _NOON)
    assert seconds is None or 0.0 <= seconds <= RETRY_AFTER_MAX


@given(
    st.builds(
        Reply,
        status=st.integers(0, 9999),
        content_type=st.text(max_size=30),
        retry_after=st.none() | st.text(max_size=30),
        date=st.none() | st.text(max_size=30),
        body=st.binary(max_size=100),
    )
)
def test_no_reply_can_break_it(reply: Reply) -> None:
    """Whatever comes back has exactly one meaning."""
    assert classify(reply, _NOON).kind in Kind


@given(st.binary(max_size=4096) | st.text(max_size=3000).map(str.encode))
def test_an_excerpt_is_short_and_printable(body: bytes) -> None:
    """It goes to a terminal and into a text column: no control characters, no NUL."""
    text = excerpt(body)
    assert text is None or (0 < len(text) <= EXCERPT_CHARS and text.isprintable())


def test_an_excerpt_of_wide_characters_is_not_cut_short() -> None:
    """Four bytes a character are read, and half a character at the end does no harm."""
    assert excerpt("\U0001f600".encode() * 900) == "\U0001f600" * EXCERPT_CHARS
    assert excerpt(b" \r\n\x00 ") is None


@pytest.mark.parametrize("before", [0, EXCERPT_CHARS - 3])
def test_a_secret_that_is_thrown_back_is_masked_before_an_excerpt_is_made(before: int) -> None:
    """The end of an excerpt could else hold the beginning of the secret."""
    reply = Reply(500, body=b"x" * before + b"secret-api-id")
    seen = excerpt(masked(reply, ("secret-api-id",)).body)
    assert seen is not None
    assert "sec" not in seen


def test_nothing_but_the_secret_is_masked() -> None:
    """Whatever its bytes are; an answer without it, or without there being one, stays as it is."""
    reply = Reply(500, body=b"<\xff\xfe>")
    assert masked(reply, ("\udcff\udcfe",)).body == b"<****>"
    assert masked(reply, ("another",)) is reply
    assert masked(reply, ()) is reply

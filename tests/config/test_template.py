"""Texts with placeholders: which there are, and that a value stays in its place."""

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipper.config.template import Template, Unbuildable, has_dot_segment, split

TEXTS = st.text(st.characters(exclude_categories=()), min_size=1)
"""Any text, lone surrogates included."""

UNRESERVED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def in_url(text: str, **values: str | None) -> str:
    """Render the path and query of a URL."""
    return Template.parse(text).in_url({**values})


def in_header(text: str, **values: str | None) -> str:
    """Render a header."""
    return Template.parse(text).in_header({**values})


def test_all_five_placeholders_are_rendered() -> None:
    """Each with its value; what stands between them stays."""
    values = {"event_id": "e", "ordering_key": "k", "type": "t", "destination": "d"}
    text = "/{event_id}/{ordering_key}.{type}?d={destination}&s={secret:hook_2}"
    secrets = {"secret:hook_2": "a/b"}
    assert Template.parse(text).in_url({**values, **secrets}) == "/e/k.t?d=d&s=a%2Fb"
    assert Template.parse(text).names == {*values, *secrets}
    assert Template.parse(text).secrets == {"hook_2"}


def test_two_braces_write_one() -> None:
    """And what is between them is no placeholder."""
    assert in_header("{{event_id}} {event_id} {{{event_id}}}", event_id="7") == "{event_id} 7 {7}"
    assert in_url("/{{a}}", event_id="7") == "/%7Ba%7D"
    assert Template.parse("{{type}}").names == frozenset()


@pytest.mark.parametrize(
    "text", ["{", "}", "a{b", "a}b", "{}}", "{{}", "{a{b}", "}{", "{{{", "}}}"]
)
def test_a_lone_brace_is_refused(text: str) -> None:
    """It is more likely a mistake than meant."""
    with pytest.raises(ValueError, match=r"has a lone [{}]: write [{}]{2}|unknown placeholder"):
        Template.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "{payload}", "{Event_id}", "{ event_id }", "{event_id!r}", "{event_id.x}", "{}", "{0}",
        "{secret}", "{secret:}", "{secret:A}", "{secret:a-b}", "{secret:a.b}", "{type.order}",
        "{order}", "{geheim-9f}", "{event_id:>10}", "{\n}", "{secret:1a}", "{secret:ä}",
    ],
)  # fmt: skip
def test_an_unknown_placeholder_is_refused_and_not_shown(text: str) -> None:
    """Nothing of the payload below `type`; and what is in the braces can be a secret."""
    with pytest.raises(ValueError, match="unknown placeholder") as refused:
        Template.parse(text)
    assert text not in str(refused.value)
    assert "{secret:NAME}" in str(refused.value)


@pytest.mark.parametrize("missing", [None, ""])
def test_a_missing_value_is_the_events_fault(missing: str | None) -> None:
    """An empty one counts as missing: the URL would be another one."""
    for render in (in_url, in_header):
        with pytest.raises(Unbuildable, match="has no ordering_key"):
            render("/{ordering_key}/x", ordering_key=missing)


@given(TEXTS)
@example("../../admin")
@example("a/b?c#d&e=f")
@example("100%")
@example("\r\nhost: evil")
def test_a_value_stays_one_part_of_a_url(value: str) -> None:
    """It comes out as it went in, and the rest is as it was."""
    try:
        rendered = in_url("/a/x{event_id}x/b?q={event_id}&r=1", event_id=value)
    except Unbuildable:
        assert not _is_utf8(value) or has_dot_segment(f"/x{quote(value, safe='')}x")
        return
    path, _, query = rendered.partition("?")
    first, second, inside, last = path.split("/")
    q, r = query.split("&")
    encoded = inside[1:-1]
    assert (first, second, last, r, q) == ("", "a", "b", "r=1", f"q={encoded}")
    assert set(encoded) <= UNRESERVED | {"%"}
    assert unquote_to_bytes(encoded) == value.encode("utf-8", "surrogateescape")


@given(TEXTS)
@example("%0d%0a")
@example("\x85\u2028\x7f\0")
def test_a_value_stays_in_its_header(value: str) -> None:
    """Visible ASCII only, and it can be read back."""
    try:
        rendered = in_header("{event_id}", event_id=value)
    except Unbuildable:
        assert not _is_utf8(value)
        return
    assert all(0x21 <= ord(character) <= 0x7E for character in rendered)
    assert unquote_to_bytes(rendered) == value.encode("utf-8", "surrogateescape")


def _is_utf8(value: str) -> bool:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/a/{type}", "."),
        ("/a/{type}", ".."),
        ("/a/{type}/b", ".."),
        ("/a/.{type}", "."),
        ("/a/{type}?x=1", "../.."),  # nginx decodes %2F before it looks for dots
        ("/a/{type}", "x/../../admin"),
        ("/a/{type}", "..\\..\\admin"),  # and IIS takes a backslash for a slash
        ("/a/%2e{type}", "."),
    ],
)
def test_a_value_never_leads_to_another_path(text: str, value: str) -> None:
    """Such an event is a dead letter: nothing is sent for it."""
    with pytest.raises(Unbuildable, match=r"is \. or \.\."):
        in_url(text, type=value)


@pytest.mark.parametrize("value", ["...", "a.b", ".a", "a.", "..a", "a..", ". ."])
def test_a_dot_is_no_segment_of_its_own(value: str) -> None:
    """`order.paid` is an ordinary type."""
    assert not has_dot_segment(in_url("/a/{type}/b?q={type}", type=value).partition("?")[0])


def test_a_secret_that_was_not_read_is_no_fault_of_the_event() -> None:
    """It would make every event a dead letter."""
    with pytest.raises(KeyError):
        in_header("{secret:a}")


def test_what_would_be_too_long_is_the_events_fault() -> None:
    """A receiver need not take more (RFC 9110, 4.1), and would refuse it again and again."""
    assert len(in_url("/{event_id}", event_id="x" * 7999)) == 8000
    for render in (in_url, in_header):
        with pytest.raises(Unbuildable, match="longer than 8000"):
            render("/{event_id}", event_id="ä" * 1500)


def test_dots_in_the_query_lead_nowhere() -> None:
    """Only the path has segments."""
    assert in_url("/a?q={type}", type="..") == "/a?q=.."


@pytest.mark.parametrize(
    ("url", "origin", "rest"),
    [
        ("https://h/p?q", "https://h", "/p?q"),
        ("https://h:8/p", "https://h:8", "/p"),
        ("https://h", "https://h", "/"),
        ("https://h?q=/x", "https://h", "/?q=/x"),
        ("http://[::1]:8/{type}", "http://[::1]:8", "/{type}"),
        ("https://h/?u=https://x/", "https://h", "/?u=https://x/"),
    ],
)
def test_a_url_is_cut_where_its_path_begins(url: str, origin: str, rest: str) -> None:
    """What is before can't be a template."""
    assert split(url) == (origin, rest)


def test_a_secret_is_sent_as_it_is_in_a_header_and_encoded_in_a_url() -> None:
    """A token with % would be another one."""
    values = {"secret:t": "a%b c"}
    assert Template.parse("Bearer {secret:t}").in_header(values) == "Bearer a%b c"
    assert Template.parse("/?t={secret:t}").in_url(values) == "/?t=a%25b%20c"

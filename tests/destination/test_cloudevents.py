"""The headers of CloudEvents 1.0 in HTTP binary mode."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.destination.cloudevents import headers
from shipper.policy.event import Event


def event(event_id: str = "order-4711", created_at: float = 0.0) -> Event:
    """Return an event with an id."""
    return Event(1, event_id, "erp", None, b"{}", created_at=created_at)


def test_all_attributes() -> None:
    """The required ones and the time; the content type has its own header."""
    assert headers(event(created_at=1764338400.25), "order", "/shops/42", "com.example.") == [
        ("ce-specversion", "1.0"),
        ("ce-id", "order-4711"),
        ("ce-source", "/shops/42"),
        ("ce-type", "com.example.order"),
        ("ce-time", "2025-11-28T14:00:00.250Z"),
    ]


def test_a_time_that_is_not_known_is_left_out() -> None:
    """No time is better than 1970."""
    assert "ce-time" not in dict(headers(event(), "order", "/shops/42", ""))


def test_the_example_of_the_specification() -> None:
    """HTTP binding 1.0.2, 3.1.3.2: only space, '"', '%' and what isn't visible ASCII."""
    found = dict(headers(event('Euro € 😀 "50%"'), "order", "/a?b=c&d#e", ""))
    assert found["ce-id"] == "Euro%20%E2%82%AC%20%F0%9F%98%80%20%2250%25%22"
    assert found["ce-source"] == "/a?b=c&d#e"


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Z", "M")), min_size=1))
def test_a_receiver_reads_what_was_written(text: str) -> None:
    """Every attribute survives, and none breaks out of its header."""
    for name, value in headers(event(text), text, text, "p."):
        assert all("!" <= character <= "~" for character in value)
        if name in {"ce-id", "ce-source"}:
            assert unquote(value, errors="strict") == text
        if name == "ce-type":
            assert unquote(value, errors="strict") == f"p.{text}"


@pytest.mark.parametrize(
    "bad", ["a\nb", "a\x00", "\x7f", "\x85", "\ud800", "a\udcff", "\ufffe", "\U0010ffff"]
)
def test_what_the_specification_forbids_is_not_sent(bad: str) -> None:
    """A receiver's library would refuse each of them; the message doesn't repeat it."""
    with pytest.raises(ValueError, match="the event id holds a character") as refused:
        headers(event(bad), "order", "/shops/42", "")
    assert bad not in str(refused.value)
    with pytest.raises(ValueError, match="the type holds a character"):
        headers(event(), bad, "/shops/42", "")


def test_an_empty_attribute_is_not_sent() -> None:
    """All of them have to be non-empty."""
    with pytest.raises(ValueError, match="the type is empty"):
        headers(event(), "", "/shops/42", "")
    with pytest.raises(ValueError, match="the source is empty"):
        headers(event(), "order", "", "")


def test_an_attribute_that_is_too_long_is_not_sent() -> None:
    """A receiver would refuse it again and again, for a reason that seems to be the link's."""
    assert dict(headers(event(), "t" * 7998, "/shops/42", "p."))["ce-type"] == "p." + "t" * 7998
    for kind in ("t" * 200_000, "t" * 7999, "ä" * 1400):
        with pytest.raises(ValueError, match="the type makes a header longer than 8000"):
            headers(event(), kind, "/shops/42", "p.")
    with pytest.raises(ValueError, match="the event id makes a header"):
        headers(event("e" * 8001), "order", "/shops/42", "")

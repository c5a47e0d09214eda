"""What goes into the outbox is what was meant, to the last digit."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.contract.encoding import encode
from shipper.errors import InvalidEvent


class Ratio(Enum):
    """An enumeration that hides what is no number."""

    NONE = float("nan")


@given(amount=st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_keeps_its_digits(amount: Decimal) -> None:
    """A price is written digit by digit, trailing zeros included."""
    assert json.loads(encode({"a": amount}), parse_float=Decimal, parse_int=Decimal) == {
        "a": amount
    }
    assert encode({"a": Decimal("149.90")}) == b'{"a":149.90}'


def test_text_and_bytes_are_taken_as_they_were_written() -> None:
    """Nothing is parsed and written anew: blanks, order and repeats stay."""
    text = '{ "b":1.0, "a" : "é" ,"b":2}'
    assert encode(text) == text.encode()
    assert encode(text.encode()) == text.encode()


def test_a_dict_is_written_compactly_and_in_its_order() -> None:
    """No blanks, no sorting, no escapes that JSON doesn't need."""
    assert encode({"b": ["é", (1, None)], "a": True}) == '{"b":["é",[1,null]],"a":true}'.encode()


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE


@pytest.mark.parametrize(
    ("event", "place", "reason"),
    [
        ({"a": [1, {"b": float("nan")}]}, "/a/1/b", "finite"),
        ({"a": (float("-inf"),)}, "/a/0", "finite"),
        ({"a": Decimal("sNaN")}, "/a", "finite"),
        ({"a": Ratio.NONE}, "/a", "finite"),
        ({"a": {"b": [0, {1, 2}]}}, "/a/b/1", "set"),
        ({"a": {"b": "\ud800"}}, "/a/b", "surrogates"),
        ({"a": {"\ud800": 1}}, "/a", "surrogates"),
        ({"a": {7: 1}}, "/a", "must be str"),
        ({"a": 2**64}, "/a", "64-bit"),
        ({"a": object()}, "/a", "object"),
        (CIRCLE, "/self/self", "ecursion"),
    ],
)
def test_what_has_no_exact_form_in_json_is_refused_with_its_place(
    event: dict[str, Any], place: str, reason: str
) -> None:
    """A dict that would arrive as something else never reaches the database."""
    with pytest.raises(InvalidEvent) as refused:
        encode(event)
    [found] = refused.value.violations
    assert found["instancePath"].startswith(place)
    assert reason in found["message"]
    assert len(str(refused.value)) <= 500


def test_every_number_that_is_none_is_listed() -> None:
    """All of them at once, so that nobody mends them one by one."""
    with pytest.raises(InvalidEvent) as refused:
        encode({"a": float("nan"), "b": [Decimal("Infinity")]})
    assert [v["instancePath"] for v in refused.value.violations] == ["/a", "/b/0"]


def test_a_lone_surrogate_in_text_is_refused_without_quoting_it() -> None:
    """The error names the character's place, and its cause doesn't carry the text along."""
    with pytest.raises(InvalidEvent, match="character 6") as refused:
        encode('{"a":"\ud800"}')
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_times_and_uuids_are_taken() -> None:
    """What has one obvious form in JSON needn't be turned into text first."""
    assert encode({"at": datetime(2026, 1, 2, tzinfo=UTC)}) == b'{"at":"2026-01-02T00:00:00+00:00"}'

"""Whether a payload may leave: any bytes get an answer, and the answer never quotes them."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipper.contract.validation import (
    MAX_PAYLOAD_BYTES,
    MAX_VIOLATIONS,
    Mode,
    violations,
)
from shipper.contract.violation import NAME_CHARS, Violation, describe, in_words

MODES: tuple[Mode, ...] = ("off", "envelope", "schema")
FIELDS = {"instancePath", "schemaPath", "keyword", "params", "message"}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["view", "interact", "order", "context", "type", "new/~kind", ""])
# Near-events: the words of the contract with anything behind them.
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "type": KINDS | JSON_VALUES,
        "view": JSON_VALUES | st.just({}),
        "order": st.dictionaries(st.sampled_from(["id", "lines", "x"]), JSON_VALUES),
        "new/~kind": st.just({}),
        "context": st.lists(JSON_VALUES | st.fixed_dictionaries({"type": KINDS | JSON_VALUES})),
    },
)


def wrong(event: object, mode: Mode = "envelope") -> list[Violation]:
    """Return the violations of an event that is given as a value."""
    return violations(json.dumps(event).encode(), mode)


def is_envelope(event: object) -> bool:
    """Say independently whether a value is a valid envelope."""
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        return False
    entries = event.get("context", [])
    return (
        isinstance(event.get(event["type"]), dict)
        and isinstance(entries, list)
        and all(isinstance(e, dict) and isinstance(e.get("type"), str) for e in entries)
    )


@pytest.mark.parametrize("mode", MODES)
@given(payload=st.binary())
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b"\x00")
def test_any_bytes_get_an_answer(mode: Mode, payload: bytes) -> None:
    """No bytes make it raise, and every violation has the five fields and a one-line message."""
    for found in violations(payload, mode):
        assert found.keys() == FIELDS
        assert found["message"].isprintable()
        assert found["instancePath"].isprintable()


@pytest.mark.parametrize("mode", MODES)
@given(event=JSON_VALUES | EVENTS)
def test_any_json_gets_an_answer(mode: Mode, event: object) -> None:
    """No JSON makes it raise, NaN and lone surrogates included."""
    for found in wrong(event, mode):
        assert found.keys() == FIELDS
        orjson.dumps(found)


@given(event=JSON_VALUES | EVENTS)
def test_the_envelope_is_what_the_interface_says(event: object) -> None:
    """Nothing is reported exactly for what orjson can read and the interface calls an envelope."""
    payload = json.dumps(event).encode()
    try:
        expected = is_envelope(orjson.loads(payload))
    except orjson.JSONDecodeError:
        expected = False
    assert (violations(payload, "envelope") == []) is expected


@given(event=EVENTS)
def test_the_schema_is_stricter_than_the_envelope(event: object) -> None:
    """What breaks the envelope breaks the schema too."""
    if wrong(event, "envelope"):
        assert wrong(event, "schema")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "view", "view": {}},
        {"type": "unheard", "unheard": {"x": 1}, "context": []},
        {"type": "view", "view": {"type": "hologram"}, "context": [{"type": "unheard"}]},
        {"type": "", "": {}},
        {"type": "order", "order": {}, "extra": None},
    ],
)
def test_the_envelope_lets_pass_what_nobody_has_heard_of(event: object) -> None:
    """Unknown types, and a missing user, are the vendor's to judge."""
    assert wrong(event) == []


@pytest.mark.parametrize(
    ("event", "at", "schema_path", "params", "message"),
    [
        (5, "", "#/type", {"type": "object"}, "must be object"),
        (None, "", "#/type", {"type": "object"}, "must be object"),
        ({}, "", "#/required", {"missingProperty": "type"}, "must have required property 'type'"),
        ({"type": 5}, "/type", "#/properties/type/type", {"type": "string"}, "must be string"),
        (
            {"type": "order"},
            "",
            "#/required",
            {"missingProperty": "order"},
            "must have required property 'order'",
        ),
        (
            {"type": "order", "order": []},
            "/order",
            "#/properties/order/type",
            {"type": "object"},
            "must be object",
        ),
        (
            {"type": "a/~b", "a/~b": 1},
            "/a~1~0b",
            "#/properties/a~1~0b/type",
            {"type": "object"},
            "must be object",
        ),
        (
            {"type": "view", "view": {}, "context": None},
            "/context",
            "#/properties/context/type",
            {"type": "array"},
            "must be array",
        ),
        (
            {"type": "view", "view": {}, "context": [{"type": "user"}, 7]},
            "/context/1",
            "#/properties/context/items/type",
            {"type": "object"},
            "must be object",
        ),
        (
            {"type": "view", "view": {}, "context": [{}]},
            "/context/0",
            "#/properties/context/items/required",
            {"missingProperty": "type"},
            "must have required property 'type'",
        ),
        (
            {"type": "view", "view": {}, "context": [{"type": None}]},
            "/context/0/type",
            "#/properties/context/items/properties/type/type",
            {"type": "string"},
            "must be string",
        ),
    ],
)
def test_a_broken_envelope_is_told_as_ajv_would(
    event: object, at: str, schema_path: str, params: dict[str, Any], message: str
) -> None:
    """Each breach has Ajv's place, keyword, parameters and words."""
    assert wrong(event) == [
        {
            "instancePath": at,
            "schemaPath": schema_path,
            "keyword": schema_path.rpartition("/")[2],
            "params": params,
            "message": message,
        }
    ]


@pytest.mark.parametrize(
    ("payload", "keyword", "place"),
    [
        (b'{"type":"\xff"}', "utf8", "at byte 9"),
        (b"\xed\xa0\x80", "utf8", "at byte 0"),
        (b'{"a":"\\ud800"}', "json", "line 1, column 7, byte 6"),
        (b'{"\\udc00":1}', "json", "line 1, column 3, byte 2"),
        ('{"é":\n NaN}'.encode(), "json", "line 2, column 2, byte 8"),
        (b"Infinity", "json", "line 1, column 1, byte 0"),
        (b"[1e999]", "json", "line 1, column 2, byte 1"),
        (b"", "json", "line 1, column 1, byte 0"),
        (b"[1]x", "json", "line 1, column 4, byte 3"),
        (b"[" * 100_000, "json", "line 1, column 1026, byte 1025"),
        (b" " * (MAX_PAYLOAD_BYTES + 1), "maxBytes", "goes on to byte 1048577"),
    ],
)
@pytest.mark.parametrize("mode", ["envelope", "schema"])
def test_the_reason_names_the_place(payload: bytes, keyword: str, place: str, mode: Mode) -> None:
    """Bytes that are no JSON are refused with the place where they stop being it."""
    [found] = violations(payload, mode)
    assert found["keyword"] == keyword
    assert place in found["message"]


def test_a_byte_place_counts_bytes_and_not_characters() -> None:
    """The byte offset is one that a hex editor shows, in front of it any script."""
    [found] = violations('{"日本":nan}'.encode(), "envelope")
    assert found["params"]["byteOffset"] == len('{"日本":'.encode())


def test_off_looks_at_nothing_but_size_and_utf8() -> None:
    """With validation off a payload leaves unless no receiver could take it as text."""
    assert violations(b"not json", "off") == []
    assert violations(b'{"a":"\\ud800"}', "off") == []
    assert violations(b"x" * MAX_PAYLOAD_BYTES, "off") == []
    assert violations(b"x" * (MAX_PAYLOAD_BYTES + 1), "off")[0]["keyword"] == "maxBytes"
    assert violations(b"\xff", "off")[0]["keyword"] == "utf8"


def test_five_megabytes_are_refused_in_every_mode() -> None:
    """The limit comes before everything else, so that nobody parses five megabytes."""
    payload = b'{"type":"view","view":{"x":"' + b"x" * 5_000_000 + b'"}}'
    for mode in MODES:
        [found] = violations(payload, mode)
        assert found["params"] == {"limit": MAX_PAYLOAD_BYTES, "bytes": len(payload)}


def test_half_a_million_breaches_are_cut_short() -> None:
    """A hostile context yields a hundred violations, not half a million."""
    payload = b'{"type":"view","view":{},"context":[' + b"1," * 500_000 + b"1]}"
    assert len(violations(payload, "envelope")) == MAX_VIOLATIONS


SECRET = "hunter2-4711"
MESSAGES_WITH_VALUES = [
    {"type": "order", "order": SECRET},
    {"type": "order", "order": {"id": [SECRET], "lines": SECRET}, "context": [SECRET, SECRET]},
    {"type": "view", "view": {"type": SECRET}, "context": [{"type": SECRET}, {"type": [SECRET]}]},
]


@pytest.mark.parametrize("event", MESSAGES_WITH_VALUES)
@pytest.mark.parametrize("mode", ["envelope", "schema"])
def test_a_violation_never_quotes_a_value(event: object, mode: Mode) -> None:
    """What stands in an event stays out of every field of a violation."""
    found = wrong(event, mode)
    assert found
    assert SECRET not in json.dumps(found)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_parse_error_never_quotes_the_text(cut: int) -> None:
    """A payload torn anywhere is described by place alone."""
    torn = json.dumps({SECRET: SECRET, "x": [SECRET]})[:cut].encode()
    assert SECRET[:3] not in json.dumps(violations(torn, "envelope"))


def test_a_name_is_shown_bounded_and_printable() -> None:
    """A type of a megabyte, or with line breaks, makes no long or broken log line."""
    [long] = wrong({"type": "x" * 5000})
    assert len(long["params"]["missingProperty"]) == NAME_CHARS
    [odd] = wrong({"type": "a\nb"})
    assert odd["message"] == "must have required property 'a?b'"


def test_a_description_is_one_bounded_line_that_counts_the_rest() -> None:
    """The first violations that fit are written out, the others counted."""
    found = wrong({"type": "order", "context": [1, 2, 3]})
    whole = (
        "event must have required property 'order'; event/context/0 must be object; "
        "event/context/1 must be object; event/context/2 must be object"
    )
    assert describe(found) == whole
    assert describe(found, limit=60) == "event must have required property 'order'; and 3 more"
    assert describe(found, limit=10) == "event mus…"
    assert describe([]) == ""


@given(event=EVENTS, limit=st.integers(1, 200))
def test_a_description_never_exceeds_its_limit(event: object, limit: int) -> None:
    """However many and long the violations, the line fits where it is stored."""
    assert len(describe(wrong(event, "schema"), limit)) <= limit


@pytest.mark.parametrize("cut", [500, 260, 150])
def test_a_list_of_violations_is_told_in_words(cut: int) -> None:
    """Also one that was cut off; a message may hold whatever JSON can."""
    found: list[Violation] = [
        {"instancePath": "", "schemaPath": "#/required", "keyword": "required",
         "params": {"missingProperty": "context"}, "message": "must have 'context'"},
        {"instancePath": "/view", "message": 'says "}" and \\'},
    ]  # fmt: skip
    whole = "event must have 'context'; event/view says \"}\" and \\"
    said = in_words(json.dumps(found)[:cut])
    assert said == (whole if cut > 200 else whole.partition(";")[0])


@pytest.mark.parametrize(
    "answer", ["", "no", "[{", '[{"message":"no"}]', '{"message":"no"}', '[{"instancePath":"\\x'],
)  # fmt: skip
def test_any_other_answer_is_told_as_it_is(answer: str) -> None:
    """Whatever it is: nobody has to guess what the receiver said."""
    assert in_words(answer) == answer

"""The schema says what the vendor's documentation says, and both validators tell it alike."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.contract import ajv
from shipper.contract.schema import CONTENT_TYPES, CURRENCIES, EVENT_SCHEMA
from shipper.contract.validation import violations

USER = {"type": "user", "user": {"id": "2b5c1e0a-7f39-4d0e-9a57-3d1f6f1c8e44"}}
LINE = {"sku": "COAT-0815-42", "quantity": 1, "grossPrice": {"amount": 149.95, "currency": "EUR"}}
FINDERS = {"jsonschema-rs": ajv.rust_finder, "jsonschema": ajv.python_finder}

Expected = tuple[str, str, dict[str, Any], str]


@pytest.fixture(params=FINDERS)
def validator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Judge with one of the two validators; both are installed for the tests."""
    finder = FINDERS[request.param]()
    monkeypatch.setattr(ajv, "_finder", lambda: finder)
    return str(request.param)


def view(**changes: object) -> dict[str, Any]:
    """Return a valid view with some properties replaced."""
    body = {"type": "customSet", "customSet": {"id": "6f0f"}}
    return {"type": "view", "view": body, "context": [USER], **changes}


def order(**changes: object) -> dict[str, Any]:
    """Return a valid order with some properties of its body replaced."""
    return {"type": "order", "order": {"id": "W-1", "lines": [LINE], **changes}, "context": [USER]}


def wrong(event: object) -> list[Expected]:
    """Return the violations of an event, without the keyword, in a settled order."""
    found = violations(json.dumps(event).encode(), "schema")
    assert all(v["keyword"] == v["schemaPath"].rpartition("/")[2] for v in found)
    rows = [(v["instancePath"], v["schemaPath"], v["params"], v["message"]) for v in found]
    return sorted(rows, key=json.dumps)


def missing(name: str) -> tuple[dict[str, str], str]:
    """Return Ajv's parameters and words for a missing property."""
    return {"missingProperty": name}, f"must have required property '{name}'"


def typed(name: str) -> tuple[dict[str, str], str]:
    """Return Ajv's parameters and words for a value of the wrong type."""
    return {"type": name}, f"must be {name}"


def extra(name: str) -> tuple[dict[str, str], str]:
    """Return Ajv's parameters and words for a property too many."""
    return {"additionalProperty": name}, "must NOT have additional properties"


def one_of(*allowed: str) -> tuple[dict[str, list[str]], str]:
    """Return Ajv's parameters and words for a value outside an enumeration."""
    return {"allowedValues": list(allowed)}, "must be equal to one of the allowed values"


def valid_events() -> Iterator[dict[str, Any]]:
    """Yield every kind of event, content and context that the documentation names."""
    yield order()
    yield order(lines=[])
    yield order(lines=[LINE, {**LINE, "quantity": 2.5}])
    for name in CONTENT_TYPES:
        yield view(view={"type": name, name: {"id": "6f0f#generated#1"}})
    product: dict[str, Any] = {"type": "product", "product": {"sku": "S"}}
    for body in (product, {**product, "action": "addToCart"}):
        yield {"type": "interact", "interact": body, "context": [USER]}
    entries: dict[str, dict[str, Any]] = {
        "content": {"type": "productSet", "productSet": {"id": "6f0f"}},
        "page": {"url": "https://shop.example/"},
        "session": {"id": "s"},
        "widget": {"id": "w", "type": "carousel"},
        "api": {"id": "a", "sourceIp": "192.0.2.1", "userAgent": "curl"},
    }
    for name, entry in entries.items():
        yield view(context=[{"type": name, name: entry}, USER])


@pytest.mark.parametrize("event", list(valid_events()), ids=lambda e: json.dumps(e)[:60])
def test_what_the_vendor_documents_is_valid(event: object, validator: str) -> None:
    """Every documented shape passes."""
    assert wrong(event) == []


ORDER = "#/definitions/order"
LINES = "#/definitions/line"
CONTEXT = "#/properties/context"
CASES: list[tuple[object, list[Expected]]] = [
    (5, [("", "#/type", *typed("object"))]),
    ({}, [("", "#/required", *missing("type")), ("", "#/required", *missing("context"))]),
    (view(type=42), [("/type", "#/properties/type/enum", *one_of("view", "interact", "order"))]),
    (
        {"type": "order", "context": [USER]},
        [("", "#/allOf/2/then/required", *missing("order"))],
    ),
    (order(id=1), [("/order/id", f"{ORDER}/properties/id/type", *typed("string"))]),
    (
        {"type": "order", "order": {"lines": []}, "context": [USER]},
        [("/order", f"{ORDER}/required", *missing("id"))],
    ),
    (
        order(x=1, y=2),
        [
            ("/order", f"{ORDER}/additionalProperties", *extra("x")),
            ("/order", f"{ORDER}/additionalProperties", *extra("y")),
        ],
    ),
    (
        order(lines=[{"quantity": "1"}]),
        [
            ("/order/lines/0", f"{LINES}/required", *missing("sku")),
            ("/order/lines/0", f"{LINES}/required", *missing("grossPrice")),
            ("/order/lines/0/quantity", f"{LINES}/properties/quantity/type", *typed("number")),
        ],
    ),
    (
        order(lines=[LINE, {**LINE, "sku": 42}]),
        [("/order/lines/1/sku", f"{LINES}/properties/sku/type", *typed("string"))],
    ),
    (
        order(lines=[{**LINE, "grossPrice": {"amount": "1", "currency": "EURO"}}]),
        [
            (
                "/order/lines/0/grossPrice/amount",
                "#/definitions/price/properties/amount/type",
                *typed("number"),
            ),
            (
                "/order/lines/0/grossPrice/currency",
                "#/definitions/price/properties/currency/enum",
                *one_of(*CURRENCIES),
            ),
        ],
    ),
    (
        view(view={"type": "customSet"}),
        [("/view", "#/definitions/content/allOf/0/then/required", *missing("customSet"))],
    ),
    (
        view(view={"type": "hologram", "hologram": {"id": "1"}}),
        [("/view/type", "#/definitions/content/properties/type/enum", *one_of(*CONTENT_TYPES))],
    ),
    (
        view(context=[]),
        [
            (
                "/context",
                f"{CONTEXT}/contains",
                {"minContains": 1},
                "must contain at least 1 valid item(s)",
            )
        ],
    ),
    (view(context={}), [("/context", f"{CONTEXT}/type", *typed("array"))]),
    (
        view(context=[USER, 5]),
        [("/context/1", "#/definitions/contextEntry/type", *typed("object"))],
    ),
    (
        view(context=[{"type": "user", "user": {"id": "u", "mail": "m"}}]),
        [("/context/0/user", "#/definitions/user/additionalProperties", *extra("mail"))],
    ),
    (
        view(context=[USER, {"type": "session", "session": {}}, USER, USER]),
        [
            (
                "/context",
                f"{CONTEXT}/uniqueItems",
                {"i": 3, "j": 2},
                "must NOT have duplicate items (items ## 2 and 3 are identical)",
            ),
            ("/context/1/session", "#/definitions/identified/required", *missing("id")),
        ],
    ),
]


@pytest.mark.parametrize(("event", "expected"), CASES, ids=[json.dumps(e)[:60] for e, _ in CASES])
def test_a_breach_is_told_as_ajv_tells_it(
    event: object, expected: list[Expected], validator: str
) -> None:
    """Both validators give Ajv's objects, derived from the same schema."""
    assert wrong(event) == sorted(expected, key=json.dumps)


VALUES: st.SearchStrategy[Any] = (
    st.none() | st.integers(-1, 1) | st.text(max_size=2) | st.just({}) | st.just([])
)
WORDS = st.sampled_from(["type", "id", "sku", "user", "view", "order", "lines", "customSet", "x"])
NEAR = st.recursive(VALUES | WORDS, lambda v: st.lists(v) | st.dictionaries(WORDS, v), max_leaves=9)


@given(
    event=st.fixed_dictionaries(
        {"type": st.sampled_from(["view", "interact", "order"]) | VALUES},
        optional={"view": NEAR, "interact": NEAR, "order": NEAR, "context": st.lists(NEAR) | NEAR},
    )
)
def test_the_two_validators_agree(event: dict[str, Any]) -> None:
    """Whatever the event, the machine it is judged on makes no difference."""
    rust, python = ajv.rust_finder(), ajv.python_finder()
    assert set(rust(event, True)) == set(python(event, True))
    assert bool(list(rust(event, False))) == bool(list(python(event, False)))


@pytest.mark.parametrize(("left", "right"), [(1, 1.0), (0.0, -0.0), ([1], [1.0])])
def test_numbers_repeat_as_javascript_compares_them(left: object, right: object) -> None:
    """Two entries that JSON.parse makes equal are a repeat, however they are written."""
    pages = [{"type": "page", "page": {"url": "u", "n": n}} for n in (left, right)]
    assert [row[2] for row in wrong(view(context=[USER, *pages]))] == [{"i": 2, "j": 1}]


def test_true_is_not_one() -> None:
    """A boolean and a number are different entries."""
    pages = [{"type": "page", "page": {"url": "u", "n": n}} for n in (1, True)]
    assert wrong(view(context=[USER, *pages])) == []


def test_every_keyword_of_the_schema_has_words() -> None:
    """A rule can't be added to the schema without saying how its breach is told."""
    structure = {"properties", "items", "allOf", "if", "then", "definitions", "const"}
    annotations = {"$schema", "$ref", "title"}

    def keywords(schema: dict[str, Any]) -> Iterator[str]:
        for keyword, value in schema.items():
            yield keyword
            if keyword in {"properties", "definitions"}:
                for inner in value.values():
                    yield from keywords(inner)
            elif keyword == "allOf":
                for inner in value:
                    yield from keywords(inner)
            elif isinstance(value, dict):
                yield from keywords(value)

    assert set(keywords(EVENT_SCHEMA)) - structure - annotations == ajv.WORDING.keys()


def test_the_currencies_are_codes_and_each_stands_once() -> None:
    """Three capitals each, no repeats, the big ones among them."""
    assert len(set(CURRENCIES)) == len(CURRENCIES)
    assert all(len(c) == 3 and c.isascii() and c.isupper() for c in CURRENCIES)
    assert {"EUR", "CHF", "GBP", "USD", "SEK", "PLN", "CZK", "JPY"} <= set(CURRENCIES)


def test_a_large_event_gets_its_first_breach_only(validator: str) -> None:
    """Above 16 KiB nobody waits for a list of thousands."""
    assert len(wrong(order(lines=[1] * 20))) == 20
    assert len(wrong(order(lines=[1] * 20_000))) == 1
    assert wrong(order(lines=[LINE] * 1_000)) == []


def test_nesting_beyond_the_validators_is_a_breach(validator: str) -> None:
    """What the validators can't descend into is refused instead of raising."""
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    message = "must NOT be nested deeper than 254"
    assert wrong({"deep": deep}) == [("", "#/maxDepth", {"limit": 254}, message)]


def test_the_slower_validator_steps_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where jsonschema-rs isn't installed, jsonschema judges."""

    def absent() -> ajv.Finder:
        raise ImportError

    ajv._finder.cache_clear()
    monkeypatch.setattr(ajv, "rust_finder", absent)
    try:
        assert wrong(order()) == []
        assert wrong(order(id=1))
    finally:
        ajv._finder.cache_clear()

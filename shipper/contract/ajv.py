"""Finds which rules of the schema an event breaks, and words them as the Ajv validator does.

A validator only reports *where* and *which keyword*. This module derives the parameters and the
message from the schema and the event. So the two validators (jsonschema-rs, and jsonschema on
machines that have no wheel of jsonschema-rs) give the same violations, and a message never holds a
value. Ajv's extra objects for the `if`, and for the entries that `contains` tried, are left out on
purpose.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any, TypeAlias

import orjson

from shipper.contract.schema import EVENT_SCHEMA
from shipper.contract.violation import Violation, bounded, missing, pointer, violation, wrong_type

Schema: TypeAlias = dict[str, Any]
Json: TypeAlias = Any  # any value that orjson reads
Path: TypeAlias = tuple[str | int, ...]
Breach: TypeAlias = tuple[Path, Path]  # where in the event, which keyword of the schema
Finder: TypeAlias = Callable[[Json, bool], Iterable[Breach]]
Wording: TypeAlias = Callable[[str, str, Schema, Json], Iterator[Violation]]

# To list half a million breaches takes jsonschema-rs ten seconds; to find one, a few milliseconds.
EXHAUSTIVE_BYTES = 16 * 1024


def schema_violations(event: object, size: int) -> Iterator[Violation]:
    """Yield the violations of a parsed payload; above 16 KiB of `size` only the first breach."""
    try:
        orjson.dumps(event)
    except orjson.JSONEncodeError:
        # orjson can read but not write a value that is nested deeper than 254; nor can a validator.
        yield violation("", "#/maxDepth", {"limit": 254}, "must NOT be nested deeper than 254")
        return
    breaches = _finder()(event, size <= EXHAUSTIVE_BYTES)
    for where, (*home, keyword) in dict.fromkeys((*_repeats(event), *breaches)):
        schema, value = _follow(EVENT_SCHEMA, home), _follow(event, where)
        yield from WORDING[keyword](pointer(where), "#" + pointer(home), schema, value)


@cache
def _finder() -> Finder:
    try:
        return rust_finder()
    except ImportError:
        return python_finder()


def rust_finder() -> Finder:
    """Return a finder on jsonschema-rs. Raises ImportError if it isn't installed."""
    jsonschema_rs = import_module("jsonschema_rs")
    validator = jsonschema_rs.Draft7Validator(_searched())

    def first(event: object) -> list[Any]:
        # iter_errors gathers all of them before it yields one; validate stops at the first.
        try:
            validator.validate(event)
        except jsonschema_rs.ValidationError as error:
            return [error]
        return []

    def find(event: object, exhaustive: bool) -> Iterator[Breach]:  # noqa: FBT001 - a Finder
        for error in validator.iter_errors(event) if exhaustive else first(event):
            yield tuple(error.instance_path), tuple(error.schema_path)

    return find


def python_finder() -> Finder:
    """Return a finder on jsonschema. Raises ImportError if it isn't installed."""
    validator = import_module("jsonschema").Draft7Validator(_searched())

    def find(event: object, exhaustive: bool) -> Iterator[Breach]:  # noqa: FBT001 - a Finder
        for error in islice(validator.iter_errors(event), None if exhaustive else 1):
            yield tuple(error.absolute_path), _canonical(error.absolute_schema_path)

    return find


def _searched() -> Schema:
    """Return the schema without `uniqueItems`, which `_repeats` checks.

    The validators compare all pairs of entries, which takes hours for a hostile megabyte, and
    neither says which two entries are equal.
    """
    context = dict(EVENT_SCHEMA["properties"]["context"])
    del context["uniqueItems"]
    return {**EVENT_SCHEMA, "properties": {**EVENT_SCHEMA["properties"], "context": context}}


def _repeats(event: Json) -> Iterator[Breach]:
    context = event.get("context") if isinstance(event, dict) else None
    if isinstance(context, list) and _last_pair(context):
        yield ("context",), ("properties", "context", "uniqueItems")


def _last_pair(items: list[Any]) -> tuple[int, int] | None:
    """Return the last two equal entries, as Ajv does, or None if all entries differ."""
    seen: dict[bytes, int] = {}
    pair = None
    for index, item in enumerate(items):
        key = orjson.dumps(_as_doubles(item), option=orjson.OPT_SORT_KEYS)
        if key in seen:
            pair = (seen[key], index)
        seen[key] = index
    return pair


def _as_doubles(value: Json) -> Json:
    """Return a value with its numbers as in JavaScript, where 1 equals 1.0, and -0 equals 0."""
    if isinstance(value, dict):
        return {name: _as_doubles(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_doubles(item) for item in value]
    return float(value) + 0.0 if type(value) in {int, float} else value


def _canonical(path: Iterable[str | int]) -> Path:
    """Return the path of a rule in the schema, for a path that goes through references."""
    schema: Json = EVENT_SCHEMA
    place: Path = ()
    for step in path:
        if isinstance(schema, dict) and "$ref" in schema:
            place = tuple(schema["$ref"].split("/")[1:])
            schema = _follow(EVENT_SCHEMA, place)
        place = (*place, step)
        schema = schema[step]
    return place


def _follow(value: Json, path: Iterable[str | int]) -> Json:
    for step in path:
        value = value[step]
    return value


def _type(at: str, place: str, schema: Schema, _value: Json) -> Iterator[Violation]:
    yield wrong_type(schema["type"], at, place)


def _required(at: str, place: str, schema: Schema, value: Json) -> Iterator[Violation]:
    for name in schema["required"]:
        if name not in value:
            yield missing(name, at, place)


def _additional(at: str, place: str, schema: Schema, value: Json) -> Iterator[Violation]:
    for name in value:
        if name not in schema["properties"]:
            params = {"additionalProperty": bounded(name)}
            message = "must NOT have additional properties"
            yield violation(at, f"{place}/additionalProperties", params, message)


def _enum(at: str, place: str, schema: Schema, _value: Json) -> Iterator[Violation]:
    params = {"allowedValues": list(schema["enum"])}
    yield violation(at, f"{place}/enum", params, "must be equal to one of the allowed values")


def _contains(at: str, place: str, _schema: Schema, _value: Json) -> Iterator[Violation]:
    message = "must contain at least 1 valid item(s)"
    yield violation(at, f"{place}/contains", {"minContains": 1}, message)


def _unique(at: str, place: str, _schema: Schema, value: Json) -> Iterator[Violation]:
    j, i = _last_pair(value) or (0, 0)
    message = f"must NOT have duplicate items (items ## {j} and {i} are identical)"
    yield violation(at, f"{place}/uniqueItems", {"i": i, "j": j}, message)


WORDING: dict[str | int, Wording] = {
    "type": _type,
    "required": _required,
    "additionalProperties": _additional,
    "enum": _enum,
    "contains": _contains,
    "uniqueItems": _unique,
}

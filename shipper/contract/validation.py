"""Decides whether a payload can be sent, and if not, why. `violations` never raises.

It decides by the bytes alone, and must never change them. There are three modes, each with the
rules of the mode before it:

    off       at most 1 MiB, and UTF-8
    envelope  JSON; an object with a string `type` and an object under the property named after
              it; `context`, if present, an array of objects with a string `type`. Unknown types
              pass, and so does a missing `user`
    schema    every rule in `schema.py`; types that it doesn't know are refused

JSON means what orjson reads. It refuses lone surrogates, and numbers that a double can't hold. Some
databases accept them, but a receiver couldn't read them as they were meant.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import orjson

from shipper.contract.violation import (
    Violation,
    missing,
    pointer,
    violation,
    wrong_type,
)

Mode = Literal["off", "envelope", "schema"]

# The vendor names no limit. An event is about 300 bytes; common gateways stop at 1 MB or 10 MB.
MAX_PAYLOAD_BYTES = 1024 * 1024

# The keywords of what the outbox's table refuses, or what is never sent, whatever the mode is.
UNSENDABLE = frozenset({"json", "utf8", "maxBytes"})

_NONE: list[object] = []

# A person doesn't read more, and a hostile payload can hold half a million.
MAX_VIOLATIONS = 100


def violations(payload: bytes, mode: Mode) -> list[Violation]:
    """Return the violations of a payload in Ajv's form, at most 100; none if it can be sent."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return [_too_large(len(payload))]
    if mode == "off":
        return _not_utf8(payload)
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return _not_utf8(payload) or [_not_json(payload, error)]
    if mode == "envelope":
        return [] if _is_ordinary(event) else list(islice(_envelope(event), MAX_VIOLATIONS))
    # Imported here, so that only this mode pays for compiling the schema.
    from shipper.contract.ajv import schema_violations  # noqa: PLC0415

    return list(islice(schema_violations(event, len(payload)), MAX_VIOLATIONS))


def _too_large(size: int) -> Violation:
    message = f"must NOT have more than {MAX_PAYLOAD_BYTES} bytes, but goes on to byte {size}"
    return violation("", "#/maxBytes", {"limit": MAX_PAYLOAD_BYTES, "bytes": size}, message)


def _not_utf8(payload: bytes) -> list[Violation]:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        message = f"must be UTF-8, but is not at byte {error.start}"
        return [violation("", "#/utf8", {"byteOffset": error.start}, message)]
    return []


def _not_json(payload: bytes, error: orjson.JSONDecodeError) -> Violation:
    offset = len(payload.decode()[: error.pos].encode())
    place = {"line": error.lineno, "column": error.colno, "byteOffset": offset}
    where = f"line {error.lineno}, column {error.colno}, byte {offset}"
    return violation("", "#/json", place, f"must be JSON: {error.msg} ({where})")


def _is_ordinary(event: object) -> bool:
    """Return whether the rules of the envelope hold; False leaves the decision to `_envelope`."""
    if type(event) is not dict or type(kind := event.get("type")) is not str:
        return False
    if type(event.get(kind)) is not dict:
        return False
    context = event.get("context", _NONE)
    return type(context) is list and all(
        type(entry) is dict and type(entry.get("type")) is str for entry in context
    )


def _envelope(event: object) -> Iterator[Violation]:
    yield from _typed(event, "", "#")
    if not isinstance(event, dict):
        return
    kind = event.get("type")
    if isinstance(kind, str):
        if kind not in event:
            yield missing(kind, "", "#")
        elif not isinstance(event[kind], dict):
            at = pointer((kind,))
            yield wrong_type("object", at, f"#/properties{at}")
    if "context" in event:
        yield from _context(event["context"])


def _context(context: object) -> Iterator[Violation]:
    if not isinstance(context, list):
        yield wrong_type("array", "/context", "#/properties/context")
        return
    for index, entry in enumerate(context):
        yield from _typed(entry, f"/context/{index}", "#/properties/context/items")


def _typed(value: object, at: str, schema: str) -> tuple[Violation, ...]:
    if not isinstance(value, dict):
        return (wrong_type("object", at, schema),)
    if "type" not in value:
        return (missing("type", at, schema),)
    if not isinstance(value["type"], str):
        return (wrong_type("string", f"{at}/type", f"{schema}/properties/type"),)
    return ()

"""Writes an event as the bytes that the outbox stores and the receiver gets unchanged.

A text stays as it is; a dict is written compactly. The bytes must never mean anything else than the
event: a Decimal keeps its digits, and NaN is refused (orjson would write null).
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any

import orjson

from shipper.contract.violation import Violation, describe, pointer, violation
from shipper.errors import InvalidEvent

# Dataclasses are refused, because `_not_finite` doesn't look for a NaN inside them.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS
_MAX_DEPTH = 254


def encode(event: dict[str, Any] | str | bytes) -> bytes:
    """Return an event as JSON in UTF-8: a text as it is, unchecked; a dict written compactly.

    Raises InvalidEvent, with the place, for a dict without an exact form in JSON, and for a text
    that can't be UTF-8.
    """
    if isinstance(event, bytes):
        return event
    if isinstance(event, str):
        return _encode_text(event)
    try:
        payload = _dumps(event)
    except orjson.JSONEncodeError as error:
        found = violation(pointer(_culprit(event)), "#/json", {}, f"must be JSON: {error}")
        raise _refused([found]) from error
    wrong = [_no_number(path) for path in _not_finite(event, ())]
    if wrong:
        raise _refused(wrong)
    return payload


def _encode_text(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        message = f"must be UTF-8, but is not at character {error.start}"
        found = violation("", "#/utf8", {"characterOffset": error.start}, message)
        # `error` holds the whole text, which must not get into a traceback.
        raise _refused([found]) from None


def _refused(found: list[Violation]) -> InvalidEvent:
    return InvalidEvent(describe(found), found)


def _dumps(value: object) -> bytes:
    return orjson.dumps(value, default=_exactly, option=_OPTIONS)


def _exactly(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError


def _culprit(value: object) -> tuple[str | int, ...]:
    """Return the path to the innermost part that can't be written; bounded, because of cycles."""
    path: tuple[str | int, ...] = ()
    while len(path) < _MAX_DEPTH:
        wrong = next((pair for pair in _children(value) if not _can_be_written(pair[1])), None)
        if wrong is None:
            break
        path = (*path, wrong[0])
        value = wrong[1]
    return path


def _children(value: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _can_be_written(value: object) -> bool:
    try:
        _dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True


def _not_finite(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        finite = isfinite(value)
    else:
        finite = not isinstance(value, Decimal) or value.is_finite()
    if not finite:
        yield path
    for step, child in _children(value):
        yield from _not_finite(child, (*path, step))


def _no_number(path: tuple[str | int, ...]) -> Violation:
    return violation(pointer(path), "#/finite", {}, "must be a finite number")

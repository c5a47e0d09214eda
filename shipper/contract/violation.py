"""A violation of the contract: an object in the form of the Ajv validator.

A violation says where and which rule. It must never hold a value, because messages get into logs
and into `last_error`. Of an event's words it can hold only names of properties (and so the event's
`type`, which names one), printable and bounded.
"""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

Violation: TypeAlias = dict[str, Any]

NAME_CHARS = 64
REASON_CHARS = 500


def violation(at: str, schema_path: str, params: dict[str, Any], message: str) -> Violation:
    """Return a violation at a JSON pointer. The keyword is the last word of the schema's path."""
    return {
        "instancePath": at,
        "schemaPath": schema_path,
        "keyword": schema_path.rpartition("/")[2],
        "params": params,
        "message": message,
    }


def wrong_type(wanted: str, at: str, schema: str) -> Violation:
    """Return the violation of a value that isn't of the wanted JSON type."""
    return violation(at, f"{schema}/type", {"type": wanted}, f"must be {wanted}")


def missing(name: str, at: str, schema: str) -> Violation:
    """Return the violation of an object that lacks a property."""
    shown = bounded(name)
    message = f"must have required property '{shown}'"
    return violation(at, f"{schema}/required", {"missingProperty": shown}, message)


def bounded(name: str) -> str:
    """Return a property's name for a log line: printable, at most 64 characters."""
    shown = name if len(name) <= NAME_CHARS else name[: NAME_CHARS - 1] + "…"
    return shown if shown.isprintable() else "".join(c if c.isprintable() else "?" for c in shown)


def pointer(path: Iterable[str | int]) -> str:
    """Return a JSON pointer (RFC 6901) with bounded names."""
    steps = (bounded(str(step)).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(f"/{step}" for step in steps)


def describe(violations: Sequence[Violation], limit: int = REASON_CHARS) -> str:
    """Return the violations in one line of at most `limit` characters, in their order.

    Those that don't fit are counted: `event/order must be object; and 3 more`.
    """
    parts = [f"{_subject(v)} {v['message']}" for v in violations]
    for shown in range(len(parts), 0, -1):
        rest = len(parts) - shown
        line = "; ".join(parts[:shown]) + (f"; and {rest} more" if rest else "")
        if len(line) <= limit:
            return line
    return "; ".join(parts)[: max(limit - 1, 0)] + "…" if parts else ""


# One object of Ajv's list. The list can be cut off anywhere, so it isn't parsed as a whole.
_SAID = re.compile(
    r'"instancePath":\s*("(?:[^"\\]|\\.)*")[^{}]*(?:\{[^{}]*\})?[^{}]*"message":\s*("(?:[^"\\]|\\.)*")'
)


def in_words(answer: str) -> str:
    """Return the violations that a receiver's answer lists, worded as `describe` words them.

    An answer without a whole violation is returned as it is.
    """
    found = []
    with suppress(ValueError):
        for at, message in _SAID.findall(answer) if answer.lstrip().startswith("[{") else ():
            found.append(f"event{json.loads(at)} {json.loads(message)}")
    return "; ".join(found) or answer


def _subject(breach: Violation) -> str:
    return str(breach["params"].get("column", "event")) + str(breach["instancePath"])

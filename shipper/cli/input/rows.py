"""The file format for events between two outboxes: one line of JSON per event.

A payload in UTF-8 is written as text, any other as `payload_base64`; both keep every byte. A line
that isn't exactly one such event is refused with its number.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from shipper.clock import iso, parse_iso
from shipper.errors import InvalidEvent
from shipper.store.operate.move import MovedEvent

_TEXTS = ("event_id", "destination", "created_at", "status")


def fields(event: MovedEvent) -> dict[str, Any]:
    """Return the JSON object of an event."""
    row: dict[str, Any] = {
        "id": event.id,
        "event_id": event.event_id,
        "destination": event.destination,
        "ordering_key": event.ordering_key,
        "created_at": iso(event.created_at),
        "status": event.status,
    }
    if event.maybe_received:
        row["maybe_received"] = True
    try:
        row["payload"] = event.payload.decode()
    except UnicodeDecodeError:
        row["payload_base64"] = b64encode(event.payload).decode()
    return row


def written(event: MovedEvent) -> bytes:
    """Return an event as one line of a file."""
    row = fields(event)
    try:
        return orjson.dumps(row) + b"\n"
    except TypeError:  # a key that isn't UTF-8 has surrogates, which only json can write (escaped)
        return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def read(lines: Iterable[bytes], name: str) -> Iterator[MovedEvent]:
    """Yield the events in the lines of a file; raises InvalidEvent for a line that isn't one."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _read(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise InvalidEvent(
                    f"{name}:{number}: {_fault(error)}; nothing was written", []
                ) from None


def is_exported(line: bytes) -> bool:
    """Return whether a line has the format of `written`."""
    try:
        _read(json.loads(line))
    except (ValueError, TypeError, KeyError):
        return False
    return True


def _fault(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"this line has no {error.args[0]}"
    return "this line isn't an event as `shipper events export` writes it"


def _read(row: dict[str, Any]) -> MovedEvent:
    event_id, destination, created_at, status = (_text(row[name]) for name in _TEXTS)
    key = row["ordering_key"]
    return MovedEvent(
        id=int(row["id"]),
        event_id=event_id,
        destination=destination,
        ordering_key=None if key is None else _text(key),
        created_at=parse_iso(created_at),
        status=status,
        maybe_received=row.get("maybe_received", False) is True,
        payload=_payload(row),
    )


def _payload(row: dict[str, Any]) -> bytes:
    if "payload_base64" in row:
        return b64decode(_text(row["payload_base64"]), validate=True)
    return _text(row["payload"]).encode()


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value

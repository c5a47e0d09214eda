"""What of a payload is used to send it: its type, and nothing below. It never raises."""

import orjson


def type_of(payload: bytes) -> str | None:
    """Return the `type` of a payload; None if it has none that is a text."""
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    kind = event.get("type") if isinstance(event, dict) else None
    return kind if isinstance(kind, str) else None

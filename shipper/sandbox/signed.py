"""Check a signature by Standard Webhooks, as a receiver does. Pure.

Written from the specification alone and not from shipper's own code that signs: the two check each
other. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from shipper.errors import UsageError
from shipper.sandbox.api import RequestInfo, is_same

TOLERANCE: Final = 300.0
"""How old, or how far in the future, the time of a signature can be, in seconds."""

# Python refuses to read a number of thousands of digits.
_DIGITS: Final = 20
_PREFIX: Final = "whsec_"
_LENGTHS: Final = range(24, 65)


def secret_key(text: str) -> bytes:
    """Return the key in a secret `whsec_…`. Raises UsageError, which doesn't show the secret."""
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or len(key) not in _LENGTHS:
        raise UsageError(
            "the secret for signatures must be whsec_ and the base64 of 24 to 64 bytes",
            "make one: echo whsec_$(openssl rand -base64 32)",
        )
    return key


def wrong_signature(info: RequestInfo, keys: Sequence[bytes], now: float) -> str | None:
    """Return why a request isn't signed with one of these keys; None if it is."""
    name, time = info.headers.get("webhook-id", ""), info.headers.get("webhook-timestamp", "")
    if not name or not time:
        return "webhook-id or webhook-timestamp is missing"
    if not (time.isascii() and time.isdigit() and len(time) <= _DIGITS):
        return "webhook-timestamp isn't a number of seconds"
    if abs(now - int(time)) > TOLERANCE:
        return "webhook-timestamp is more than five minutes off"
    signed = f"{name}.{time}.".encode("utf-8", "surrogateescape") + info.payload
    given = info.headers.get("webhook-signature", "").split(" ")
    for key in keys:
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        if any(is_same(signature, expected) for signature in given):
            return None
    return "webhook-signature has no signature of the body with this secret"

"""Signatures of Standard Webhooks 1.0: who sent a body, when, and that it wasn't changed.

It decides what is signed: the id, the second of this try and the body, as they are sent. It must
never show a secret: no message here holds a part of one.
"""

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_from_bytes

_PREFIX: Final = "whsec_"
_ASYMMETRIC: Final = ("whsk_", "whpk_")
_LEAST: Final = 24  # bytes
_MOST: Final = 64
_AT_ONCE: Final = 2

# Visible ASCII without '%', as in an idempotency key.
_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


class Signer:
    """Signs with one secret, or with two while the receiver changes from one to the other."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def headers(self, event_id: str, payload: bytes, wall: float) -> list[tuple[str, str]]:
        """Return the three headers for a try at `wall`, in seconds since 1970.

        There is one signature for each secret, in the order of the secrets. Raises
        UnicodeEncodeError if UTF-8 can't write the id.
        """
        name, second = message_id(event_id), str(int(wall))
        signed = f"{name}.{second}.".encode("ascii") + payload
        found = (hmac.digest(secret, signed, "sha256") for secret in self._secrets)
        signatures = " ".join(f"v1,{b64encode(one).decode('ascii')}" for one in found)
        return [
            ("webhook-id", name),
            ("webhook-timestamp", second),
            ("webhook-signature", signatures),
        ]


def message_id(event_id: str) -> str:
    """Return an event id as a `webhook-id`: visible ASCII without a dot, the rest percent-encoded.

    A dot separates the parts of what is signed. If the id held one, the same signature would fit
    another id with another timestamp. Raises UnicodeEncodeError for a lone surrogate.
    """
    encoded = quote_from_bytes(event_id.encode("utf-8", "surrogateescape"), safe=_VISIBLE)
    return encoded.replace(".", "%2E")


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Return the keys in the lines of a file, the current one first.

    Raises ValueError, whose message says what is wrong with which line, without a part of it.
    """
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not 1 <= len(lines) <= _AT_ONCE:
        raise ValueError(f"must hold one or two secrets, each on its line, but has {len(lines)}")
    return tuple(_key(number, line) for number, line in lines)


def _key(number: int, line: str) -> bytes:
    if line.startswith(_ASYMMETRIC):
        raise ValueError(f"line {number}: a key for ed25519; only whsec_ is supported")
    if not line.startswith(_PREFIX):
        raise ValueError(f"line {number}: must begin with {_PREFIX}")
    text = line.removeprefix(_PREFIX).rstrip("=")
    try:
        # Strictly: a lenient decoder skips what it doesn't know, and makes another key of the rest.
        key = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"line {number}: isn't base64 after {_PREFIX}") from None
    if not _LEAST <= len(key) <= _MOST:
        raise ValueError(f"line {number}: must have {_LEAST} to {_MOST} bytes after {_PREFIX}")
    return key

"""The file of signing secrets: one or two lines `whsec_…` (Standard Webhooks 1.0).

It decides what such a line has to look like. No message of this module must ever hold a secret or a
part of it.
"""

import binascii
from base64 import b64decode
from typing import Final

_PREFIX: Final = "whsec_"
_ASYMMETRIC: Final = ("whsk_", "whpk_")
_LEAST: Final = 24  # bytes
_MOST: Final = 64
_AT_ONCE: Final = 2


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Return the keys in the lines of a file, the current one first.

    Raises ValueError, whose message says what is wrong with which line, without a part of it.
    """
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not 1 <= len(lines) <= _AT_ONCE:
        raise ValueError(f"must hold one or two secrets, each on its line, but has {len(lines)}")
    return tuple(_key(number, line) for number, line in lines)


def signing_texts(text: str) -> list[str]:
    """Return the secrets of such a file as texts, without what stands before each."""
    return [line.removeprefix(_PREFIX).rstrip("=") for line in text.split()]


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

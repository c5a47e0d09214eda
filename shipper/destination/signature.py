"""Signatures of Standard Webhooks 1.0: who sent a body, when, and that it wasn't changed.

It decides what is signed: the id, the second of this try and the body, as they are sent.
"""

import hmac
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache

from shipper.config.signing import parse_secrets
from shipper.config.template import encoded_in_header


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
    return encoded_in_header(event_id).replace(".", "%2E")


@lru_cache(maxsize=16)
def signer_of(text: str) -> Signer:
    """Return what signs with the secrets in the lines of a file. Raises ValueError."""
    return Signer(parse_secrets(text))

"""Signatures of Standard Webhooks 1.0: who sent a body, when, and that it wasn't changed.

It decides what is signed: the id, the second of this try and the body, as they are sent.
"""

import hmac
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from shipper.config.signing import parse_secrets
from shipper.config.template import encoded_in_header
from shipper.policy.outcome import Fault, Reply, http_date

# Receivers refuse a timestamp that is further away (the specification's libraries).
_TOLERANCE: Final = 300.0
_REFUSALS: Final = frozenset({400, 401, 403, 422})


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


def clock_fault(wall: Callable[[], float], reply: Reply) -> Fault | None:
    """Return the fault of the clocks, if an answer refuses a signed request while they differ.

    Many receivers answer 400 to a signature that is too old. That would be the fault of each event,
    though it is the clock that has to be set. `wall` is in seconds since 1970.
    """
    theirs = http_date(reply.date or "") if reply.status in _REFUSALS else None
    if theirs is None or abs(apart := wall() - theirs) <= _TOLERANCE:
        return None
    where = "ahead of" if apart > 0 else "behind"
    clocks = f"this machine's clock is {abs(apart):.0f} s {where} the API's"
    return Fault("clock", "no", f"HTTP {reply.status} to a signed request, and {clocks}")

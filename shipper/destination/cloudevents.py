"""An event's headers in the HTTP binary mode of CloudEvents 1.0.2; its body stays as it is.

It decides how an attribute is written (HTTP binding, 3.1.3.2). It must never write an attribute
that the specification forbids: such an event can't be built. The content type is the header
`content-type`, so there is no `ce-datacontenttype`.
"""

import re
from typing import Final
from urllib.parse import quote

from shipper.clock import iso
from shipper.config.template import LONGEST
from shipper.policy.event import Event

# Visible ASCII without '"' and '%': everything else is percent-encoded, a space too.
_AS_IT_IS: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
# CloudEvents 1.0.2, type system: controls, surrogates and noncharacters are no part of a String.
_FORBIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)


def headers(event: Event, kind: str, source: str, prefix: str) -> list[tuple[str, str]]:
    """Return the `ce-` headers of an event; its type is `kind` after the prefix.

    Raises ValueError if an attribute would be empty or longer than a header can be, or holds a
    character that isn't allowed; the message names the attribute, not its value.
    """
    attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", _written("the event id", event.event_id)),
        ("ce-source", _written("the source", source)),
        ("ce-type", _written("the type", prefix + kind)),
    ]
    if event.created_at > 0:
        attributes.append(("ce-time", iso(event.created_at)))
    return attributes


def _written(name: str, value: str) -> str:
    if not value:
        raise ValueError(f"{name} is empty, which CloudEvents doesn't allow")
    if _FORBIDDEN.search(value):
        raise ValueError(f"{name} holds a character that CloudEvents doesn't allow")
    written = quote(value, safe=_AS_IT_IS)
    if len(written) > LONGEST:
        raise ValueError(f"{name} makes a header longer than {LONGEST}")
    return written

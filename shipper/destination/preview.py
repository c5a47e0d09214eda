"""The request that a destination's events are sent with, for a person to read.

It is made by the code that sends, but never of a secret: each secret is a mask from the beginning.
What the configuration itself holds and looks like a secret by its name is masked as well.
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from shipper.config import DestinationSettings
from shipper.config.secret import MASK, SCHEMES, holds_secret, without_secrets
from shipper.config.secrets import Secrets
from shipper.config.template import Unbuildable
from shipper.destination.form import Unsendable, form_of
from shipper.errors import ConfigError
from shipper.policy.event import Event

# They stand for what isn't known while the request is made. No encoding changes these characters.
_SECRET: Final = "shipper-secret-of-a-preview"  # noqa: S105 - it stands for one
_VALUES: Final = {
    "{event_id}": "shipper-id-of-a-preview",
    "{ordering_key}": "shipper-key-of-a-preview",
    "{type}": "shipper-type-of-a-preview",
}
_SIGNING: Final = f"whsec_{b64encode(bytes(32)).decode()}"


@dataclass(frozen=True, slots=True)
class Preview:
    """A request with `{event_id}` and the like for an event's values, and `****` for secrets."""

    method: str
    url: str
    headers: dict[str, str]

    @property
    def line(self) -> str:
        """The method and the URL."""
        return f"{self.method} {self.url}"


def preview(settings: DestinationSettings) -> Preview:
    """Return the request of a destination; reads no secret. Raises ConfigError."""
    event_id, key, kind = _VALUES.values()
    payload = f'{{"type":"{kind}","{kind}":{{}}}}'.encode()
    event = Event(0, event_id, settings.name, key, payload, created_at=1.0)
    try:
        request = form_of(settings).request(event, _masks(settings))
    except (Unbuildable, Unsendable) as error:
        raise ConfigError([f"destinations.{settings.name}: {error}"]) from None
    url = request.url
    target = f"{url.scheme}://{url.netloc.decode('ascii')}{url.raw_path.decode('ascii')}"
    # The host is part of the URL.
    shown = {
        name: _header(settings, name, value)
        for name, value in request.fields().items()
        if name.lower() != "host"
    }
    return Preview(request.method, without_secrets(_readable(target)), shown)


def _masks(settings: DestinationSettings) -> Secrets:
    return Secrets(
        api_id=_SECRET,
        headers=dict.fromkeys(settings.headers, _SECRET),
        named=dict.fromkeys(settings.secrets, _SECRET),
        token=_SECRET,
        password=_SECRET,
        client_secret=_SECRET,
        signing=_SIGNING,
    )


def _header(settings: DestinationSettings, name: str, value: str) -> str:
    lower = name.lower()
    if lower == "webhook-signature":
        return f"v1,{MASK}"
    if lower == "webhook-timestamp":
        return "{seconds}"
    if lower == "ce-time" and settings.cloudevents.source:
        return "{time}"
    if holds_secret(name, value) and lower != settings.idempotency_header.lower():
        scheme, space, _ = value.partition(" ")
        # The scheme is no secret, and a person wants to see it.
        return f"{scheme} {MASK}" if space and scheme.lower() in SCHEMES else MASK
    return _readable(value)


def _readable(text: str) -> str:
    for shown, value in _VALUES.items():
        text = text.replace(value, shown)
    return text.replace(_SECRET, MASK)

"""How an event becomes a request: the form of a destination.

It decides every byte of a request's head. It must never let a value of an event change another
header, the host, or another part of the URL, and never write anything of the payload but its type.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import httpx

from shipper import __version__
from shipper.clock import SystemClock
from shipper.config.destination import DestinationSettings
from shipper.config.secrets import Secrets
from shipper.config.template import (
    SECRET,
    Template,
    Unbuildable,
    encoded_in_header,
    is_visible,
    split,
)
from shipper.contract.envelope import type_of
from shipper.destination import cloudevents
from shipper.destination.build import parse_url
from shipper.destination.request import MadeRequest, Request, Target
from shipper.destination.signature import signer_of
from shipper.errors import ConfigError
from shipper.policy.event import Event

USER_AGENT: Final = f"shipper/{__version__}"

_SENDABLE: Final = re.compile(r"[\x20-\x7e]*")


class Unsendable(Exception):
    """A secret can't be sent: the link's fault, not the event's. The text says why."""


class Form(Protocol):
    """How the events of one destination are sent."""

    url: httpx.URL
    """The URL; its host and port are those of every request."""
    can_validate: bool
    """Whether there is somewhere to let an event be validated."""

    def request(self, event: Event, secrets: Secrets) -> Request:
        """Return the request that sends an event. Raises Unbuildable and Unsendable."""

    def validation(self, event: Event, secrets: Secrets) -> Request:
        """Return the request that lets an event be validated; raises as `request` does."""


class EightSelectForm:
    """The form of kind 8select: one head for all events, and a key. Raises ConfigError."""

    can_validate = True

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self._events = Target(self.url, USER_AGENT)
        self._validation = Target(_below(self.url, b"/validate"), USER_AGENT)
        self._checked: Secrets | None = None

    def request(self, event: Event, secrets: Secrets) -> Request:
        """Return the request that sends an event. Raises Unbuildable and Unsendable."""
        if secrets is not self._checked:
            self._check(secrets)
        event_id = event.event_id
        key = event_id if is_visible(event_id) else idempotency_key(event_id)
        return Request(self._events, secrets.api_id, key, event.payload)

    def validation(self, event: Event, secrets: Secrets) -> Request:
        """Return the request that lets an event be validated. Raises Unsendable."""
        self._check(secrets)
        return Request(self._validation, secrets.api_id, None, event.payload)

    def _check(self, secrets: Secrets) -> None:
        """Check the API ID once, not for each event."""
        if not _SENDABLE.fullmatch(secrets.api_id):
            raise Unsendable("the API ID holds a character that can't be sent")
        self._checked = secrets


class HttpForm:
    """The form of kind http: a URL and headers that are templates. Raises ConfigError.

    `wall` is the clock of signatures, in seconds since 1970; by default the machine's.
    """

    def __init__(
        self, settings: DestinationSettings, wall: Callable[[], float] | None = None
    ) -> None:
        self._settings = settings
        self._wall = wall or SystemClock().wall
        self._events = _Address(settings.url, settings.method)
        self._validation = (
            _Address(settings.validate_url, settings.method) if settings.validate_url else None
        )
        self.url = self._events.target.url
        self.can_validate = self._validation is not None
        # None for a header whose value is the content of a file.
        self._headers = {
            name: None if header.text is None else Template.parse(header.text)
            for name, header in settings.headers.items()
        }
        own = {name.lower() for name in self._headers}
        fixed = {
            "host": self.url.netloc.decode("ascii"),
            "accept": "*/*",
            # Answers are never unpacked, so a compression bomb does no harm.
            "accept-encoding": "identity",
            "content-type": settings.content_type,
            "user-agent": USER_AGENT,
        }
        self._fixed = {name: text for name, text in fixed.items() if name not in own}
        self._asks_for_type = bool(settings.cloudevents.source) or any(
            "type" in template.names for template in self._templates()
        )

    def _templates(self) -> list[Template]:
        found = [self._events.template, *filter(None, self._headers.values())]
        return found if self._validation is None else [*found, self._validation.template]

    def request(self, event: Event, secrets: Secrets) -> Request:
        """Return the request that sends an event. Raises Unbuildable and Unsendable."""
        return self._made(self._events, event, secrets, keyed=True)

    def validation(self, event: Event, secrets: Secrets) -> Request:
        """Return the request that lets an event be validated; raises as `request` does."""
        if self._validation is None:
            raise Unsendable("the destination has no validate_url")
        return self._made(self._validation, event, secrets, keyed=False)

    def _made(self, address: "_Address", event: Event, secrets: Secrets, *, keyed: bool) -> Request:
        key, values = idempotency_key(event.event_id), self._values(event, secrets)
        path = address.template.in_url(values)
        fields = dict(self._fixed)
        for name, template in self._headers.items():
            fields[name] = secrets.headers[name] if template is None else template.in_header(values)
        if self._settings.auth.type:
            fields["authorization"] = self._authorization(secrets)
        if keyed and self._settings.idempotency_header:
            fields[self._settings.idempotency_header] = key
        if self._settings.cloudevents.source:
            fields.update(self._attributes(event, values["type"]))
        if self._settings.sign.scheme:
            signer = signer_of(secrets.signing)
            fields.update(signer.headers(event.event_id, event.payload, self._wall()))
        return MadeRequest(address.target, path, fields, event.payload)

    def _authorization(self, secrets: Secrets) -> str:
        auth = self._settings.auth
        if auth.type != "basic":
            return f"Bearer {secrets.token}"
        return f"Basic {b64encode(f'{auth.user}:{secrets.password}'.encode()).decode('ascii')}"

    def _attributes(self, event: Event, kind: str | None) -> Iterable[tuple[str, str]]:
        if kind is None:
            raise Unbuildable("the event has no type, which CloudEvents asks for")
        settings = self._settings.cloudevents
        try:
            return cloudevents.headers(event, kind, settings.source, settings.type_prefix)
        except ValueError as error:
            raise Unbuildable(str(error)) from None

    def _values(self, event: Event, secrets: Secrets) -> Mapping[str, str | None]:
        return {
            "event_id": event.event_id,
            "ordering_key": event.ordering_key,
            "type": type_of(event.payload) if self._asks_for_type else None,
            "destination": self._settings.name,
            **{SECRET + name: text for name, text in secrets.named.items()},
        }


class _Address:
    """A URL whose path and query are a template."""

    def __init__(self, url: str, method: str) -> None:
        origin, rest = split(url)
        self.target = Target(_parse(origin), USER_AGENT, method)
        self.template = Template.parse(rest)


def form_of(settings: DestinationSettings, wall: Callable[[], float] | None = None) -> Form:
    """Return the form of a configured destination, with its clock; raises ConfigError."""
    if settings.kind == "8select":
        return EightSelectForm(settings.url)
    return HttpForm(settings, wall)


def idempotency_key(event_id: str) -> str:
    """Return an event id as a header value, as `encoded_in_header` does; raises Unbuildable."""
    try:
        return encoded_in_header(event_id)
    except UnicodeEncodeError:
        raise Unbuildable("the event id holds a character that UTF-8 can't write") from None


def _parse(url: str) -> httpx.URL:
    parsed = parse_url("the destination's url", url, {"http", "https"})
    if parsed.userinfo:
        raise ConfigError(["the destination's url must not hold a user name or a password"])
    return parsed.copy_with(fragment=None)


def _below(url: httpx.URL, path: bytes) -> httpx.URL:
    # The raw path: the decoded path doesn't show which slashes were written as %2F.
    before, mark, query = url.raw_path.partition(b"?")
    return url.copy_with(raw_path=before.rstrip(b"/") + path + mark + query)

"""What the sections auth, tls, sign and cloudevents of one destination must be to each other.

It reports every mistake with its setting. No message must ever show a secret.
"""

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from shipper.config.destination import DestinationSettings

Mistake: TypeAlias = tuple[tuple[str, ...], str]
"""A setting below its destination, and what is wrong with it."""

# Which settings each type of auth needs, and which ones it can have.
_NEEDED: Final = {
    "": (),
    "bearer": ("token_file",),
    "basic": ("user", "password_file"),
    "oauth2": ("token_url", "client_id", "client_secret_file"),
}
_POSSIBLE: Final = _NEEDED | {
    "oauth2": (*_NEEDED["oauth2"], "scope", "audience"),
}
# With each character encoded it is no header that a receiver refuses.
_LONGEST_ATTRIBUTE: Final = 1000
_SIGNATURE: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
# RFC 3986, 4.1, as far as characters go.
_URI_REFERENCE: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")


def mistakes(settings: DestinationSettings) -> Iterator[Mistake]:
    """Yield the mistakes of these sections."""
    yield from _of_auth(settings)
    yield from _of_tls(settings)
    sign, events = settings.sign, settings.cloudevents
    if bool(sign.scheme) != (sign.secret_file is not None):
        missing = "secret_file" if sign.scheme else "scheme"
        other = "scheme" if sign.scheme else "secret_file"
        yield ("sign", other), f"needs {missing} in the same section"
    if events.type_prefix and not events.source:
        yield ("cloudevents", "type_prefix"), "needs source in the same section"
    for name, text in (("source", events.source), ("type_prefix", events.type_prefix)):
        if len(text) > _LONGEST_ATTRIBUTE:
            mistake = f"must not be longer than {_LONGEST_ATTRIBUTE} characters"
            yield ("cloudevents", name), mistake
    if not _URI_REFERENCE.fullmatch(events.source):
        yield ("cloudevents", "source"), 'must be a URI or a part of one, such as "/shops/42"'
    yield from _of_headers(settings)


def _of_auth(settings: DestinationSettings) -> Iterator[Mistake]:
    auth = settings.auth
    for name in _NEEDED[auth.type]:
        if not getattr(auth, name):
            yield ("auth", "type"), f'"{auth.type}" needs {name} in the same section'
    for name in dict.fromkeys(each for names in _POSSIBLE.values() for each in names):
        if getattr(auth, name) and name not in _POSSIBLE[auth.type]:
            owner = next(type_ for type_, names in _POSSIBLE.items() if name in names)
            yield ("auth", name), f'belongs to type = "{owner}"'
    if ":" in auth.user:
        yield ("auth", "user"), "must not have a colon: basic authentication can't send it"


def _of_tls(settings: DestinationSettings) -> Iterator[Mistake]:
    own = settings.tls
    given = own.cert_file is not None, own.key_file is not None
    if given[0] != given[1]:
        missing, other = ("key_file", "cert_file") if given[0] else ("cert_file", "key_file")
        yield ("tls", other), f"needs {missing} in the same section; one file can be both"
    elif given[0] and not settings.url.lower().startswith("https://"):
        yield ("tls", "cert_file"), "a certificate is shown to a destination with https:// only"


def _of_headers(settings: DestinationSettings) -> Iterator[Mistake]:
    """Yield the headers that these sections set, too."""
    ours = {"authorization": "auth"} if settings.auth.type else {}
    if settings.sign.scheme:
        ours |= dict.fromkeys(_SIGNATURE, "sign")
    for name in (*settings.headers, settings.idempotency_header):
        lowered = name.lower()
        owner = ours.get(lowered)
        if settings.cloudevents.source and lowered.startswith("ce-"):
            owner = "cloudevents"
        if owner is not None:
            setting = ("headers", name) if name in settings.headers else ("idempotency_header",)
            yield setting, f"this header is set twice, here and by [{_section(settings, owner)}]"


def _section(settings: DestinationSettings, name: str) -> str:
    return f"destinations.{settings.name}.{name}"

"""What the settings of one destination must be to each other, above all those of kind http.

It decides what each kind can have, and which headers are shipper's own. It reports every mistake
with its place. No message must ever show a secret, or a header's value.
"""

from collections.abc import Iterator
from typing import Final

from shipper.config import auth_rules
from shipper.config.destination import DestinationSettings, foreign_to
from shipper.config.http_types import LONGEST_TEXT
from shipper.config.layers import Layers, SettingPath, dotted
from shipper.config.secrets import places, read_place
from shipper.config.template import NOT_IN_ORIGIN, Template, has_dot_segment, literal_in_url, split
from shipper.errors import AccessDenied

RESERVED: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
        "expect",
        "trailer",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "accept-encoding",
    }
)
"""Headers of the connection and of the body's length: a wrong one would break the requests."""

_OWN_SETTING: Final = {"content-type": "content_type"}


def refuse_foreign(path: SettingPath, layers: Layers) -> object:
    """Report what a destination's kind doesn't have; return the kind as it is written."""
    written = layers.given.get((*path, "kind"))
    kind = "8select" if written is None else written.raw
    for given, value in layers.given.items():
        name = given[len(path) : len(path) + 1]
        if given[: len(path)] != path or not name:
            continue
        if kind in {"8select", "http"} and name[0] in foreign_to(kind):
            other = 'kind = "http"' if kind == "8select" else 'kind = "8select"'
            layers.report(value.origin, f"{dotted(given)}: only a destination with {other} has it")
    return kind


def check_destination(
    settings: DestinationSettings, path: SettingPath, layers: Layers, *, sends: bool
) -> None:
    """Report what the settings of a destination contradict each other in.

    With `sends`, also what is wrong with the files of its secrets; raises AccessDenied if this
    process isn't allowed to read one.
    """
    if settings.kind != "http":
        return
    for setting, mistake in _mistakes(settings):
        here = (*path, *setting)
        given = layers.given.get(here)
        origin = layers.origin(here) if given is None else given.origin
        layers.report(origin, f"{dotted(here)}: {mistake}")
    if sends:
        _check_files(settings, path, layers)


def _check_files(settings: DestinationSettings, path: SettingPath, layers: Layers) -> None:
    for place in places(settings):
        here = (*path, *place.setting)
        origin = layers.given[here].origin
        try:
            read_place(place)
        except ValueError as error:
            layers.report(origin, f"{dotted(here)}: {place.file} {error}")
        except AccessDenied as error:
            raise AccessDenied(f"{origin}: {dotted(here)}: {error.message}", error.hint) from None


def _mistakes(settings: DestinationSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    yield from _of_url(settings, "url", settings.url)
    if settings.validate_url:
        yield from _of_url(settings, "validate_url", settings.validate_url)
        if split(settings.validate_url)[0].lower() != split(settings.url)[0].lower():
            yield ("validate_url",), "must begin as url does, with the same host and port"
    yield from _of_headers(settings)
    yield from auth_rules.mistakes(settings)
    try:
        settings.answers.table()
    except ValueError as error:
        yield ("answers",), str(error)


def _of_url(
    settings: DestinationSettings, name: str, url: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    origin, rest = split(url)
    if "{" in origin or "}" in origin:
        yield (name,), NOT_IN_ORIGIN
        return
    if has_dot_segment(rest.partition("?")[0]):
        yield (name,), "must not have . or .. in its path"
    if len(literal_in_url(rest)) > LONGEST_TEXT:
        yield (name,), f"must not be longer than {LONGEST_TEXT} characters after the host"
    yield from _of_template(settings, (name,), rest)


def _of_template(
    settings: DestinationSettings, setting: tuple[str, ...], text: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    try:
        template = Template.parse(text)
    except ValueError as error:
        yield setting, str(error)
        return
    for secret in sorted(template.secrets - settings.secrets.keys()):
        section = f"[destinations.{settings.name}.secrets]"
        yield setting, f'names the secret {secret}: set {secret} = {{ file = "…" }} in {section}'


def _of_headers(settings: DestinationSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    seen = {}
    if settings.idempotency_header:
        name = settings.idempotency_header
        seen[name.lower()] = "idempotency_header"
        if (why := _not_free(name)) is not None:
            yield ("idempotency_header",), why
    for name, header in settings.headers.items():
        setting, lowered = ("headers", name), name.lower()
        if (why := _not_free(name)) is not None:
            yield setting, why
        elif lowered in seen:
            yield setting, f"this header is set twice, here and by {seen[lowered]}"
        seen.setdefault(lowered, f"headers.{name}")
        if header.text is not None:
            yield from _of_template(settings, setting, header.text)


def _not_free(name: str) -> str | None:
    """Return why a header can't be set; None if it can."""
    lowered = name.lower()
    if lowered in RESERVED:
        return "is a header that shipper sets itself; remove it"
    if lowered in _OWN_SETTING:
        return f"has a setting of its own: set {_OWN_SETTING[lowered]} instead"
    return None

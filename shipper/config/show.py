"""What `shipper config show` prints, for a person and a program. It must never show a secret."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from shipper.config.destination import DestinationSettings
from shipper.config.http_types import HeaderValue
from shipper.config.layers import dotted
from shipper.config.members import Entries, Named, members
from shipper.config.secret import MASK
from shipper.config.settings import Settings
from shipper.config.types import Seconds, Size, ValueType


class Shown(NamedTuple):
    """A setting as it is shown: its dotted name, its value as JSON and as a text, its origin."""

    name: str
    value: Any
    text: str
    origin: str


def show(settings: Settings) -> list[tuple[str, str, str]]:
    """Return (dotted name, value as the operator would write it, origin) of every setting, masked.

    The origin is `default`, `FILE:LINE`, `environment VARIABLE` or `credential NAME`.
    """
    return [(row.name, row.text, row.origin) for row in rows(settings)]


def rows(settings: Settings) -> list[Shown]:
    """Return every setting, masked, in the order of the example."""
    return list(_rows(settings, settings, ()))


def _rows(
    settings: Settings,
    section: object,
    above: tuple[str, ...],
) -> Iterator[Shown]:
    shape: type = section.__class__
    for name, member in members(shape).items():
        path, value = (*above, name), getattr(section, name)
        if isinstance(section, DestinationSettings) and not section.has(name):
            continue
        if isinstance(member, Entries):
            for key, entry in value.items():
                here = dotted((*path, key))
                text = _entry(member.kind, key, entry)
                yield Shown(here, text, text, settings.origins.get(here, "default"))
        elif isinstance(member, Named):
            for key, entry in value.items():
                yield from _rows(settings, entry, (*path, key))
        elif isinstance(member, ValueType):
            origin = settings.origins.get(dotted(path), "default")
            yield Shown(dotted(path), _plain(member, value), _value(member, value), origin)
        else:
            yield from _rows(settings, value, path)


def _entry(kind: ValueType, name: str, entry: object) -> str:
    is_secret = isinstance(entry, HeaderValue) and entry.written_secrets(name)
    return MASK if is_secret else kind.show(entry)


def _plain(kind: ValueType, value: Any) -> Any:
    """Return the JSON value: numbers and lists as they are, durations and sizes as texts."""
    if value is None and not isinstance(kind, Seconds):
        return None
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, int | float) and not isinstance(kind, Seconds | Size):
        return int(value) if value == int(value) else value
    return kind.show(value)


def _value(kind: ValueType, value: object) -> str:
    # None means "never" for a duration, and "not set" for every other type.
    if (value is None and not isinstance(kind, Seconds)) or value == "":
        return "unset"
    return kind.show(value)

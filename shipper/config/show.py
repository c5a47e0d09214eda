"""What `shipper config show --origin` prints. Never a secret."""

from collections.abc import Iterator

from shipper.config.kinds import Kind, Seconds
from shipper.config.layers import dotted
from shipper.config.settings import Named, Settings, members


def show(settings: Settings) -> list[tuple[str, str, str]]:
    """Return (dotted name, value as it would be written, origin) of every setting, masked.

    The origin is `default`, `FILE:LINE`, `environment VARIABLE` or `credential NAME`.
    """
    return list(_rows(settings, settings, ()))


def _rows(
    settings: Settings,
    section: object,
    above: tuple[str, ...],
) -> Iterator[tuple[str, str, str]]:
    shape: type = section.__class__
    for name, member in members(shape).items():
        path, value = (*above, name), getattr(section, name)
        if isinstance(member, Named):
            for key, entry in value.items():
                yield from _rows(settings, entry, (*path, key))
        elif isinstance(member, Kind):
            origin = settings.origins.get(dotted(path), "default")
            yield dotted(path), _value(member, value), origin
        else:
            yield from _rows(settings, value, path)


def _value(kind: Kind, value: object) -> str:
    # None is "never" as a duration, and what nobody gave everywhere else.
    return "unset" if value is None and not isinstance(kind, Seconds) else kind.show(value)

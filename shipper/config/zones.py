"""The name of a time zone as a value of a setting.

It decides which names are taken: those of the tz database, the system's or, where a system has
none, that of the package `tzdata`.
"""

import difflib
import zoneinfo
from dataclasses import dataclass
from pathlib import Path

from shipper.config.kinds import Kind, shown

# Beside the names there are files: zones that count leap seconds, the machine's own, directories.
_NOT_NAMES = ("posix/", "right/", "localtime", "posixrules", "Factory")


@dataclass(frozen=True, slots=True)
class TimeZone(Kind):
    """The name of a time zone, like "Europe/Berlin"."""

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the name."""
        if isinstance(raw, str) and _is_zone(raw):
            return raw
        near = _nearest(raw) if isinstance(raw, str) else None
        hint = f'; did you mean "{near}"?' if near else ""
        raise ValueError(
            f'must be a time zone like "Europe/Berlin" or "UTC", not {shown(raw)}{hint}'
        )


def _is_zone(name: str) -> bool:
    if name == "UTC":
        return True
    if name.startswith(_NOT_NAMES):
        return False
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return False
    return True


def _nearest(name: str) -> str | None:
    """Return the name that was meant: in another case, of that place, or spelled like it."""
    known = {zone.lower(): zone for zone in sorted(zoneinfo.available_timezones())}
    meant = name.strip().lower().replace(" ", "_")
    if meant in known:
        return known[meant]
    of_place = [zone for low, zone in known.items() if low.rpartition("/")[2] == meant]
    near = of_place or difflib.get_close_matches(meant, known, 1)
    return known.get(near[0].lower()) if near else None

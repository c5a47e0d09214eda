"""The name of a time zone as the value of a setting.

It decides which names are accepted: those of the system's tz database. If the system has none, the
package `tzdata` has one.
"""

import difflib
import zoneinfo
from dataclasses import dataclass
from pathlib import Path

from shipper.config.types import ValueType, shown

# The database also has files that aren't names: zones with leap seconds, the machine's own zone.
_NOT_NAMES = ("posix/", "right/", "localtime", "posixrules", "Factory")
# The signs of these zones are inverted: an operator who writes GMT+1 doesn't mean Etc/GMT+1.
_TURNED = "Etc/"
# With a lower value, PST would be similar enough to MST.
_ALIKE = 0.85


@dataclass(frozen=True, slots=True)
class TimeZone(ValueType):
    """The name of a time zone, such as "Europe/Berlin"."""

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
    """Return the name that was meant: in another case, of the same place, or similar."""
    names = sorted(zoneinfo.available_timezones())
    known = {zone.lower(): zone for zone in names if not zone.startswith(_NOT_NAMES)}
    meant = name.strip().lower().replace(" ", "_")
    if meant in known:
        return known[meant]
    straight = {low: zone for low, zone in known.items() if not zone.startswith(_TURNED)}
    of_place = [zone for low, zone in straight.items() if low.rpartition("/")[2] == meant]
    near = of_place or difflib.get_close_matches(meant, straight, 1, _ALIKE)
    return known.get(near[0].lower()) if near else None

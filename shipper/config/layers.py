"""Who said what: the file's values, overridden by the environment's, each with its place.

It knows which settings exist and refuses every other name; what a value may be is not its matter.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from shipper.config.settings import Named, Settings, kinds, members
from shipper.config.toml import Source
from shipper.config.types import Kind

SettingPath = tuple[str, ...]

DESTINATION_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

_AFTER_EVERY_LINE = sys.maxsize
_PREFIX = "SHIPPER_"
_NAME_CHARS = 80  # enough of a name to recognise it; comparing is quadratic in it


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something was written. The order is that of a report: the file, then variables."""

    line: int
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def in_environment(self) -> bool:
        """Whether this is a variable, whose word wins over the file's."""
        return self.line == _AFTER_EVERY_LINE


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written; `base` is where its relative paths begin."""

    raw: object
    place: Place
    base: Path


@dataclass(slots=True)
class Layers:
    """What was written, under the path of each setting; and every fault found so far."""

    source: Source
    cwd: Path
    given: dict[SettingPath, Given] = field(default_factory=dict)
    destinations: dict[str, None] = field(default_factory=dict)  # an ordered set
    faults: list[tuple[Place, str]] = field(default_factory=list)

    def place(self, path: SettingPath) -> Place:
        """Return the line of a setting or section in the file."""
        line = self.source.line(path)
        return Place(line, f"{self.source.name}:{line}")

    def fault(self, place: Place, message: str) -> None:
        """Take down a fault."""
        self.faults.append((place, message))

    def add_file(self) -> None:
        """Take over what the file says."""
        self._add_table(self.source.values, Settings, ())

    def _add_table(self, table: Mapping[str, Any], shape: type, above: SettingPath) -> None:
        for name, raw in table.items():
            path = (*above, name)
            member = members(shape).get(name)
            if member is None:
                self.fault(self.place(path), f"unknown setting {_unknown(path, members(shape))}")
            elif isinstance(member, Kind):
                self.given[path] = Given(raw, self.place(path), self.source.directory)
            elif not isinstance(raw, dict):
                self.fault(self.place(path), f"{dotted(path)}: must be a section, not a value")
            elif isinstance(member, Named):
                self._add_named(raw, member.shape, path)
            else:
                self._add_table(raw, member, path)

    def _add_named(self, table: Mapping[str, Any], shape: type, above: SettingPath) -> None:
        for name, raw in table.items():
            path = (*above, name)
            if not DESTINATION_NAME.fullmatch(name):
                self.fault(
                    self.place(path),
                    f"{dotted(path)}: a name is made of a-z, 0-9 and _, and begins with a letter",
                )
            elif not isinstance(raw, dict):
                self.fault(self.place(path), f"{dotted(path)}: must be a section, not a value")
            else:
                self.destinations[name] = None
                self._add_table(raw, shape, path)

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """Let `SHIPPER_SECTION__KEY` override; a name without `__` is no setting."""
        for variable, text in sorted(environ.items()):
            if not variable.startswith(_PREFIX) or "__" not in variable:
                continue
            place = Place(_AFTER_EVERY_LINE, _legible(variable))
            found = self._setting_of(variable)
            if found is None:
                self.fault(place, f"no such setting{_suggest(self._nearest_variable(variable))}")
                continue
            path, kind = found
            if path[0] == "destinations":
                self.destinations[path[1]] = None
            self.given[path] = Given(kind.from_text(text), place, self.cwd)

    def _setting_of(self, variable: str) -> tuple[SettingPath, Kind] | None:
        for path, kind in kinds():
            pattern = _variable(path, "([A-Z][A-Z0-9_]*)")
            match = re.fullmatch(pattern, variable, re.ASCII)
            if match is None:
                continue
            name = "".join(match.groups()).lower()
            # __RETRY__TIMEOUT is a slip, not a timeout of a destination whose name ends so.
            if "__" not in name or name in self.destinations:
                return tuple(name if part == "*" else part for part in path), kind
        return None

    def _nearest_variable(self, variable: str) -> list[str]:
        names = [name.upper() for name in self.destinations] or ["DEFAULT"]
        known = sorted({_variable(path, name) for path, _ in kinds() for name in names})
        # The prefix is common to all: to compare it would make anything look alike.
        rests = [name.removeprefix(_PREFIX) for name in known]
        return [_PREFIX + rest for rest in _nearest(variable.removeprefix(_PREFIX).upper(), rests)]


def dotted(path: SettingPath) -> str:
    """Return the name of a setting as people write it; legible whatever is in it."""
    return ".".join(_legible(name) for name in path)


def _variable(path: SettingPath, destination: str) -> str:
    return _PREFIX + "__".join(destination if part == "*" else part.upper() for part in path)


def _unknown(path: SettingPath, siblings: Iterable[str]) -> str:
    namesakes = [p for p, _ in kinds() if p[-1] == path[-1]]  # it stands in the wrong section
    elsewhere = [dotted(p).replace("*", "NAME") for p in namesakes]
    return dotted(path) + _suggest(_nearest(path[-1], siblings) or elsewhere)


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    return get_close_matches(name[:_NAME_CHARS], list(known), n=1)


def _suggest(names: list[str]) -> str:
    return f'; did you mean "{names[0]}"?' if names else ""


def _legible(name: str) -> str:
    cut = name if len(name) <= _NAME_CHARS else name[:_NAME_CHARS] + "…"
    return cut if re.fullmatch(r"[\w*…-]+", cut) else ascii(cut)

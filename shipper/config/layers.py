"""The raw values of the file, overridden by those of the environment, each with its origin.

It knows which settings exist, and refuses every other name. It must never judge a value: `types`
does that.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from shipper.config.members import Entries, Named, members
from shipper.config.settings import Settings, every_setting
from shipper.config.toml import Source
from shipper.config.types import ValueType

SettingPath = tuple[str, ...]

DESTINATION_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)

_AFTER_EVERY_LINE = sys.maxsize
_PREFIX = "SHIPPER_"
_NAME_CHARS = 80  # enough to recognise a name; the time to compare grows with its square


@dataclass(frozen=True, slots=True, order=True)
class ValueOrigin:
    """Where a value was written. Origins sort as a report does: first the file, then variables."""

    line: int
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def in_environment(self) -> bool:
        """Whether this is a variable. A variable overrides the file."""
        return self.line == _AFTER_EVERY_LINE


@dataclass(frozen=True, slots=True)
class RawValue:
    """A value as it was written. `base` is the directory at which its relative paths begin."""

    raw: object
    origin: ValueOrigin
    base: Path


@dataclass(slots=True)
class Layers:
    """The raw value of each setting, by the setting's path, and every mistake found so far."""

    source: Source
    cwd: Path
    given: dict[SettingPath, RawValue] = field(default_factory=dict)
    destinations: dict[str, None] = field(default_factory=dict)  # an ordered set
    mistakes: list[tuple[ValueOrigin, str]] = field(default_factory=list)

    def origin(self, path: SettingPath) -> ValueOrigin:
        """Return where the file has a setting or section."""
        line = self.source.line(path)
        return ValueOrigin(line, f"{self.source.name}:{line}")

    def report(self, origin: ValueOrigin, message: str) -> None:
        """Note a mistake."""
        self.mistakes.append((origin, message))

    def add_file(self) -> None:
        """Add the values of the file."""
        self._add_table(self.source.values, Settings, ())

    def _add_table(self, table: Mapping[str, Any], shape: type, above: SettingPath) -> None:
        for name, raw in table.items():
            path = (*above, name)
            member = members(shape).get(name)
            if member is None:
                self.report(self.origin(path), f"unknown setting {_unknown(path, members(shape))}")
            elif isinstance(member, ValueType):
                self.given[path] = RawValue(raw, self.origin(path), self.source.directory)
            elif not isinstance(raw, dict):
                self.report(self.origin(path), f"{dotted(path)}: must be a section, not a value")
            elif isinstance(member, Named):
                self._add_named(raw, member.shape, path)
            elif isinstance(member, Entries):
                self._add_entries(raw, member, path)
            else:
                self._add_table(raw, member, path)

    def _add_entries(self, table: Mapping[str, Any], member: Entries, above: SettingPath) -> None:
        for name, raw in table.items():
            path = (*above, name)
            if member.names.fullmatch(name):
                self.given[path] = RawValue(raw, self.origin(path), self.source.directory)
            else:
                self.report(self.origin(path), f"{dotted(path)}: a name is made of {member.rule}")

    def entries(self, path: SettingPath) -> list[str]:
        """Return the names in a table of entries, as they are written and in that order."""
        return [given[-1] for given in self.given if given[:-1] == path]

    def _add_named(self, table: Mapping[str, Any], shape: type, above: SettingPath) -> None:
        for name, raw in table.items():
            path = (*above, name)
            if not DESTINATION_NAME.fullmatch(name):
                self.report(
                    self.origin(path),
                    f"{dotted(path)}: a name is made of a-z, 0-9 and _, and begins with a letter",
                )
            elif not isinstance(raw, dict):
                self.report(self.origin(path), f"{dotted(path)}: must be a section, not a value")
            else:
                self.destinations[name] = None
                self._add_table(raw, shape, path)

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """Add the variables `SHIPPER_SECTION__KEY`. A name without `__` is not a setting."""
        for variable, text in sorted(environ.items()):
            if not variable.startswith(_PREFIX) or "__" not in variable:
                continue
            origin = ValueOrigin(_AFTER_EVERY_LINE, _legible(variable))
            found = self._setting_of(variable)
            if found is None:
                self.report(origin, f"no such setting{_suggest(self._nearest_variable(variable))}")
                continue
            path, kind = found
            if path[0] == "destinations":
                self.destinations[path[1]] = None
            self.given[path] = RawValue(kind.from_text(text), origin, self.cwd)

    def _setting_of(self, variable: str) -> tuple[SettingPath, ValueType] | None:
        for path, kind in every_setting():
            pattern = _variable(path, "([A-Z][A-Z0-9_]*)")
            match = re.fullmatch(pattern, variable, re.ASCII)
            if match is None:
                continue
            name = "".join(match.groups()).lower()
            # __RETRY__TIMEOUT is a mistake, not a timeout of a destination `NAME__retry`.
            if "__" not in name or name in self.destinations:
                return tuple(name if part == "*" else part for part in path), kind
        return None

    def _nearest_variable(self, variable: str) -> list[str]:
        owners = [name.upper() for name in self.destinations] or ["DEFAULT"]
        known = sorted({_variable(path, name) for path, _ in every_setting() for name in owners})
        # All names share the prefix. With it, unrelated names would look alike.
        endings = [name.removeprefix(_PREFIX) for name in known]
        return [
            _PREFIX + near for near in _nearest(variable.removeprefix(_PREFIX).upper(), endings)
        ]


def dotted(path: SettingPath) -> str:
    """Return the name of a setting as the operator writes it, legible with any characters."""
    return ".".join(_legible(name) for name in path)


def _variable(path: SettingPath, destination: str) -> str:
    return _PREFIX + "__".join(destination if part == "*" else part.upper() for part in path)


def _unknown(path: SettingPath, siblings: Iterable[str]) -> str:
    # The name can be right and the section wrong.
    namesakes = [p for p, _ in every_setting() if p[-1] == path[-1]]
    elsewhere = [dotted(p).replace("*", "NAME") for p in namesakes]
    return dotted(path) + _suggest(_nearest(path[-1], siblings) or elsewhere)


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    return get_close_matches(name[:_NAME_CHARS], list(known), n=1)


def _suggest(names: list[str]) -> str:
    return f'; did you mean "{names[0]}"?' if names else ""


def _legible(name: str) -> str:
    cut = name if len(name) <= _NAME_CHARS else name[:_NAME_CHARS] + "…"
    return cut if re.fullmatch(r"[\w*…-]+", cut) else ascii(cut)

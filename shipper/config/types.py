"""The types of value that a setting can have: which values are allowed, and how a refusal reads.

Each type turns a raw value of TOML or of the environment into the value that the program uses. For
any other raw value it raises ValueError, with a message that names the bounds and shows the value,
unless the value can be a secret.
"""

import math
import os
import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from shipper.config.crontab import Crontab
from shipper.config.secret import MASK, Secret, api_id
from shipper.wording.quantities import UNITS, duration

_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit}(?![a-z]))?" for unit in UNITS), re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_SIZES = {
    "GB": 10**9, "MB": 10**6, "kB": 10**3, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1,
}  # fmt: skip
_SIZE = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,9}})?) ?({'|'.join(_SIZES)})", re.ASCII)
_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,?#~-]+")  # also the characters of other schedulers
_WHOLE_DIGITS = 18  # more than any bound; int() refuses a long text or is slow with it
_SHOWN_CHARS = 40
_LONGEST_NAME = 63


class ValueType(ABC):
    """The type of a setting: it parses raw values and writes parsed ones."""

    secret: ClassVar[bool] = False

    @abstractmethod
    def parse(self, raw: object, base: Path) -> Any:
        """Return the value. Relative paths begin at `base`. Raises ValueError."""

    def from_text(self, text: str) -> object:
        """Return the raw value that TOML would have for a text from the environment."""
        return text

    def show(self, value: Any) -> str:
        """Return the value as the operator would write it."""
        return str(value)


@dataclass(frozen=True, slots=True)
class Choice(ValueType):
    """One of a few words."""

    words: tuple[str, ...]

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the word."""
        if isinstance(raw, str) and raw in self.words:
            return raw
        raise ValueError(f"must be one of {', '.join(self.words)}, not {shown(raw)}")


@dataclass(frozen=True, slots=True)
class Whole(ValueType):
    """A whole number, both bounds included."""

    low: int
    high: int

    def parse(self, raw: object, base: Path) -> int:  # noqa: ARG002
        """Return the number."""
        if isinstance(raw, int) and not isinstance(raw, bool) and self.low <= raw <= self.high:
            return raw
        raise ValueError(f"must be a whole number from {self.low} to {self.high}, not {shown(raw)}")

    def from_text(self, text: str) -> object:
        """Return a number if the text is one, otherwise the text."""
        is_whole = text.isascii() and text.isdigit() and len(text) <= _WHOLE_DIGITS
        return int(text) if is_whole else text


@dataclass(frozen=True, slots=True)
class Rate(ValueType):
    """A number per second; 0 means no limit."""

    high: float

    def parse(self, raw: object, base: Path) -> float:  # noqa: ARG002
        """Return the number per second."""
        if isinstance(raw, int | float) and not isinstance(raw, bool) and 0 <= raw <= self.high:
            return float(raw)
        raise ValueError(
            f"must be a number per second from 0 (no limit) to {self.high:g}, not {shown(raw)}"
        )

    def from_text(self, text: str) -> object:
        """Return a number if the text is one, otherwise the text."""
        return float(text) if _NUMBER.fullmatch(text) else text

    def show(self, value: float) -> str:
        """Return the number without a pointless fraction."""
        return f"{value:g}"


@dataclass(frozen=True, slots=True)
class Seconds(ValueType):
    """A duration; its value is in seconds. Both bounds are included."""

    low: float
    high: float
    never: bool = False

    def parse(self, raw: object, base: Path) -> float | None:  # noqa: ARG002
        """Return the seconds, or None for "never"."""
        if self.never and raw == "never":
            return None
        seconds = _seconds(raw)
        if seconds is not None and self.low <= seconds <= self.high:
            return float(seconds)
        bounds = f'a duration like "30s" or "1h30m", from {duration(self.low)}'
        other = ', or "never"' if self.never else ""
        raise ValueError(f"must be {bounds} to {duration(self.high)}{other}; not {shown(raw)}")

    def show(self, value: float | None) -> str:
        """Return the duration as the configuration has it."""
        return "never" if value is None else duration(value)


@dataclass(frozen=True, slots=True)
class Size(ValueType):
    """A number of bytes, such as "500MB". Both bounds are included."""

    low: int
    high: int

    def parse(self, raw: object, base: Path) -> int:  # noqa: ARG002
        """Return the number of bytes."""
        match = _SIZE.fullmatch(raw.strip()) if isinstance(raw, str) else None
        if match is not None:
            size = round(float(match[1]) * _SIZES[match[2]])
            if self.low <= size <= self.high:
                return size
        bounds = f"{_size(self.low)} to {_size(self.high)}"
        raise ValueError(f'must be a size like "500MB" or "2GB", from {bounds}; not {shown(raw)}')

    def show(self, value: int) -> str:
        """Return the size as the configuration has it."""
        return _size(value)


@dataclass(frozen=True, slots=True)
class FilePath(ValueType):
    """The path of a file. The file doesn't have to exist yet."""

    def parse(self, raw: object, base: Path) -> Path:
        """Return the path; a relative one is under `base`."""
        if isinstance(raw, str) and raw and raw.isprintable():
            return base / raw
        raise ValueError(f"must be the path of a file, not {shown(raw)}")


@dataclass(frozen=True, slots=True)
class Label(ValueType):
    """A name for people: on one line, and not longer than the name of a host."""

    def parse(self, raw: object, base: Path) -> str:  # noqa: ARG002
        """Return the name."""
        if isinstance(raw, str) and raw.isprintable() and 1 <= len(raw.strip()) <= _LONGEST_NAME:
            return raw.strip()
        raise ValueError(
            f"must be a text of 1 to {_LONGEST_NAME} printable characters, not {shown(raw)}"
        )


@dataclass(frozen=True, slots=True)
class ApiId(ValueType):
    """An API ID."""

    secret: ClassVar[bool] = True

    def parse(self, raw: object, base: Path) -> Secret:  # noqa: ARG002
        """Return the API ID as a `Secret`."""
        if isinstance(raw, str):
            return api_id(raw)
        raise ValueError("must be a text in quotes")

    def show(self, value: Secret) -> str:  # noqa: ARG002
        """Return the mask."""
        return MASK


@dataclass(frozen=True, slots=True)
class CronList(ValueType):
    """Cron expressions of five fields, as a list or a single one. `crontab` reads the fields."""

    def parse(self, raw: object, base: Path) -> tuple[str, ...]:  # noqa: ARG002
        """Return the expressions. The ValueError names every entry that isn't one."""
        read, mistakes = [], []
        for place, entry in enumerate(raw if isinstance(raw, list) else [raw], 1):
            try:
                read.append(_cron(entry, place))
            except ValueError as error:
                mistakes.append(str(error))
        if mistakes:
            raise ValueError("; ".join([*mistakes, *self.mistakes(read)]))
        return tuple(read)

    @staticmethod
    def mistakes(expressions: Iterable[str]) -> Iterator[str]:
        """Yield the reason for each expression that `crontab` refuses."""
        for expression in expressions:
            try:
                Crontab.parse(expression)
            except ValueError as error:
                yield f"{expression!r} is not a cron expression: {error}"

    def from_text(self, text: str) -> object:
        """Return the list that the text means in TOML or JSON, or the text itself."""
        try:
            return tomllib.loads(f"list = {text}")["list"]
        except (ValueError, RecursionError):
            return text

    def show(self, value: tuple[str, ...]) -> str:
        """Return the list as TOML."""
        return "[" + ", ".join(f'"{entry}"' for entry in value) + "]"


def host_name() -> str:
    """Return the name of this machine, as far as it fits."""
    name = "".join(c for c in os.uname().nodename if c.isprintable()).strip()
    return name[:_LONGEST_NAME] or "shipper"


def _size(count: int) -> str:
    unit = next((name for name, size in _SIZES.items() if count and count % size == 0), "B")
    return f"{count // _SIZES[unit]}{unit}"


def _seconds(raw: object) -> float | None:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return raw
    text = raw.strip() if isinstance(raw, str) else ""
    if _NUMBER.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    counts = zip(match.groups(), UNITS.values(), strict=True)
    return math.fsum(float(count) * size for count, size in counts if count)


def _cron(entry: object, place: int) -> str:
    fields = entry.split() if isinstance(entry, str) else []
    is_nickname = len(fields) == 1 and fields[0].startswith("@") and fields[0][1:].isalpha()
    if is_nickname or (len(fields) == 5 and all(map(_CRON_FIELD.fullmatch, fields))):
        return " ".join(fields)
    needed = f'entry {place} must have 5 fields like "*/5 8-19 * * mon-fri"'
    raise ValueError(f"{needed}, not {shown(entry)}{_more_than_cron(fields)}")


def _more_than_cron(fields: Sequence[str]) -> str:
    """Return a hint about what other schedulers accept beside the five fields."""
    if fields and "TZ=" in fields[0].upper():
        return "; the time zone is a setting of its own, timezone"
    return "; remove the seconds (or the year)" if len(fields) in {6, 7} else ""


def shown(raw: object) -> str:
    """Return a raw value as a message shows it; a long one is cut."""
    if isinstance(raw, str):
        cut = raw if len(raw) <= _SHOWN_CHARS else raw[:_SHOWN_CHARS] + "…"
        return ascii(cut) if not cut.isprintable() else f'"{cut}"'
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, int) and abs(raw) >= 10**_WHOLE_DIGITS:
        return "a huge number"
    if isinstance(raw, int | float):
        return str(raw)
    names: dict[type, str] = {list: "a list", dict: "a table"}
    return names.get(type(raw), "a date or time")

"""Reads one TOML file: its values, and the line of each.

The standard library's parser keeps no positions. So a second, much simpler pass finds where each
statement begins, in a document that the parser has accepted. A message must never quote a line that
can hold a secret.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipper.config.settings import every_setting
from shipper.errors import AccessDenied, ConfigError

_MAX_BYTES = 1024 * 1024

# Only strings, comments and brackets can hide the end of a statement.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""+'
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}=\n]",
    re.DOTALL,
)
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_ADVICE = {
    "Invalid value": 'text needs quotes: name = "..."',
    "Expected newline": 'text needs quotes: name = "..."',
    "Expected '='": "a setting is written as name = value, a section as [name]",
    "Cannot overwrite": "it is set twice",
    "Cannot declare": "this section is there twice",
    "Unescaped '\\'": "write \\\\ for a backslash, or use 'single quotes'",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file: its name for messages, its directory and mode, its values and their lines."""

    name: str
    directory: Path
    mode: int
    values: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def line(self, path: tuple[str, ...]) -> int:
        """Return the line of a setting or section, or of the nearest section around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


_ANOTHER = "-c FILE or SHIPPER_CONFIG names another file; shipper init writes one"


def read(path: Path) -> Source:
    """Read a configuration file. Raises ConfigError, or AccessDenied for a missing permission."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(_MAX_BYTES + 1)
    except PermissionError:
        raise AccessDenied(
            f"can't read the configuration {path.absolute()}: permission denied",
            hint="run as root or as the daemon's user; -c names another file",
        ) from None
    except OSError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror}"], _ANOTHER) from None
    except ValueError as error:  # a NUL in the path
        raise ConfigError([f"{str(path)!r}: can't be read: {error}"], _ANOTHER) from None
    text = _decode(content, path).replace("\r\n", "\n")
    return Source(str(path), path.parent, mode, _parse(text, path), _lines(text))


def _decode(content: bytes, path: Path) -> str:
    if len(content) > _MAX_BYTES:
        raise ConfigError([f"{path}:1: is larger than 1 MiB"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise ConfigError([f"{path}:{line}: is not UTF-8"])


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = f"{path}:1: is nested too deeply"
    except tomllib.TOMLDecodeError as error:
        problem = _explain(str(error), text, path)
    except ValueError:  # int() refuses thousands of digits, and doesn't say on which line
        problem = f"{path}:1: holds a number with too many digits"
    raise ConfigError([problem])


def _explain(message: str, text: str, path: Path) -> str:
    source_lines = text.split("\n")
    place = _POSITION.search(message)
    at_line = place is not None and place[1] is not None
    line = int(place[1]) if place and at_line else max(len(text.rstrip("\n").split("\n")), 1)
    column = int(place[2]) if place and at_line else len(source_lines[line - 1]) + 1
    what = _POSITION.sub("", message)
    advice = next((words for start, words in _ADVICE.items() if what.startswith(start)), None)
    advice = advice if at_line else "the file ends in the middle of it"
    problem = f"{path}:{line}: broken TOML: {what}" + (f" ({advice})" if advice else "")
    shown = source_lines[line - 1]
    if not _may_be_quoted(shown) or _holds_secrets(source_lines[: line - 1]):
        return problem
    margin = f"{line} | "
    return f"{problem}\n    {margin}{shown}\n    {' ' * (len(margin) + column - 1)}^"


def _may_be_quoted(line: str) -> bool:
    """Return whether a line is certainly a header or a setting, and has no secret.

    In a broken document nothing else is certain: an unknown name can be a misspelt `api_id`, and
    one line can hold two settings.
    """
    settings = {path[-1]: kind.secret for path, kind in every_setting()}
    if "://" in line or any(name in line for name, secret in settings.items() if secret):
        return False
    match = re.fullmatch(r"\s*(?:\[[\w.\s]*\]?|(\w+)\s*=.*)", line, re.ASCII)
    return match is not None and line.isprintable() and (match[1] is None or match[1] in settings)


def _holds_secrets(before: list[str]) -> bool:
    """Return whether the lines that follow may be headers or secrets, which have any name."""
    header = next((line for line in reversed(before) if line.lstrip().startswith("[")), "")
    return re.search(r"headers|secrets", header) is not None


def _lines(text: str) -> dict[tuple[str, ...], int]:
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    line, begin, depth, named = 1, 0, 0, False
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark == "=" and not named:
            named = True
            lines.setdefault(table + _key(text[begin : token.start()]), line)
        elif mark in {"[", "{"}:
            depth += 1
        elif mark in {"]", "}"}:
            depth -= 1
            if depth == 0 and not named:  # brackets before any `=` are a section's header
                named = True
                table = _key(text[begin : token.start()].strip("[ \t]"))
                lines.setdefault(table, line)
        elif mark == "\n" and depth == 0:
            begin, named = token.end(), False
        line += mark.count("\n")
    return lines


def _key(text: str) -> tuple[str, ...]:
    value: Any = tomllib.loads(f"{text}=0")
    path = []
    while isinstance(value, dict):
        ((name, value),) = value.items()
        path.append(name)
    return tuple(path)

"""The chapter on the configuration has every setting, with its default and its bounds."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from shipper.config.members import Named, members
from shipper.config.settings import Settings, every_setting
from shipper.config.types import Choice, Rate, Seconds, Size, ValueType, Whole, host_name
from shipper.wording.quantities import duration

CHAPTER = Path(__file__).parents[2] / "shipper" / "manual" / "configuration.md"
SETTINGS = list(every_setting())
Name = tuple[str, ...]


def rows() -> dict[Name, list[str]]:
    """Return the rest of each table's row, by the path of the setting that it is about."""
    found: dict[Name, list[str]] = {}
    for section in re.split(r"^(?=## )", CHAPTER.read_text("utf-8"), flags=re.MULTILINE):
        heading = re.match(r"## \[([\w.]+)\]\n", section)
        for row in re.findall(r"^\| `(\w+)` \|(.+)\|$", section, re.MULTILINE) if heading else ():
            name, rest = row
            assert heading is not None
            path = (*heading[1].replace("NAME", "*").split("."), name)
            assert path not in found
            found[path] = [cell.strip() for cell in rest.split("|")]
    return found


def default(path: Name, kind: ValueType) -> str:
    """Return what a row has to say of a setting's default."""
    shape: Any = Settings
    for name in path[:-1]:
        member = shape if name == "*" else members(shape)[name]
        shape = member.shape if isinstance(member, Named) else member
    [field] = [field for field in fields(shape) if field.name == path[-1]]
    if field.default_factory is host_name:
        return "the machine's name"
    if field.default is MISSING:
        return "required"
    if field.default is None and not isinstance(kind, Seconds):
        return "unset"
    if field.default == "":
        return '`""`'
    return f"`{kind.show(field.default)}`"


def values(kind: ValueType) -> str | None:
    """Return what a row has to say of the values that a setting takes; None for a description."""
    match kind:
        case Choice(words):
            return ", ".join(words)
        case Whole(low, high):
            return f"{low} to {high}"
        case Rate(high):
            return f"0 to {high:g}"
        case Seconds(low, high, never):
            return f"{duration(low)} to {duration(high)}{', never' if never else ''}"
        case Size(low, high):
            return f"{kind.show(low)} to {kind.show(high)}"
        case _:
            return None


def test_no_setting_is_left_out_and_none_is_invented() -> None:
    """In the order of the settings, which is that of the example."""
    assert list(rows()) == [path for path, _ in SETTINGS]


@pytest.mark.parametrize(("path", "kind"), SETTINGS, ids=[".".join(path) for path, _ in SETTINGS])
def test_a_row_says_what_the_program_does(path: Name, kind: ValueType) -> None:
    """Its default, its bounds, and a meaning."""
    told, bounds, meaning = rows()[path]
    assert told == default(path, kind)
    assert bounds == (values(kind) or bounds)
    assert bounds
    assert len(meaning) > 10

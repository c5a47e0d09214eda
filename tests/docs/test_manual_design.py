"""The chapter on the design names files that exist, and the layers that the linter checks."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "shipper"
CHAPTER = (PACKAGE / "manual" / "design.md").read_text("utf-8")
# What the chapter plans, under its last heading.
BUILT, _, PLANNED = CHAPTER.partition("\n## Where the next things go\n")


def test_every_path_leads_somewhere() -> None:
    """Into the package, or beside it where the chapter says so."""
    paths = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+(?:\.py)?)?|[a-z_]+\.py)`", BUILT)
    assert len(set(paths)) > 50
    lost = [path for path in paths if not any((d / path).exists() for d in (PACKAGE, ROOT))]
    assert lost == []


def test_what_is_planned_is_not_there_yet() -> None:
    """Once it is, the chapter has to say so above."""
    planned = re.findall(r"a folder `(\w+)/`", PLANNED)
    assert planned
    assert [name for name in planned if (PACKAGE / name).exists()] == []


def test_the_layers_are_those_of_the_linter() -> None:
    """In their order, and the rooms of the store, too."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = {one["name"]: one for one in pyproject["tool"]["importlinter"]["contracts"]}
    for name, heading, above in (("layers", "layer", ""), ("rooms of the store", "room", "store/")):
        table = CHAPTER.partition(f"\n| {heading} | what it does |\n|---|---|\n")[2]
        rows = [row.split("|")[1] for row in table.partition("\n\n")[0].splitlines()]
        told = [
            {path.removeprefix(above).strip("/").removesuffix(".py") for path in paths}
            for paths in (re.findall(r"`([^`]+)`", row) for row in rows)
        ]
        assert told == [set(layer.split(" | ")) for layer in contracts[name]["layers"]]

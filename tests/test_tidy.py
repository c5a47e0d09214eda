"""The house rules that a machine can check: linters, types, layers, sizes, words."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "shipper").rglob("*.py"))
MOST_LINES = 320

# Put together here, so that this file doesn't have what it looks for.
UNFINISHED = re.compile("TO" + "DO|FIX" + r"ME|#.*\bX" + "XX|pragma: no " + "cover")
# Directories that only somebody's own machine has, and hosts that only somebody's network knows.
WORKSTATION = re.compile(r"(?<![\w.~])/" + r"(?:work|root|home|Users)/\w")
REGISTRY = re.compile(
    r"(?:index|links)-(?:url|dir)|https?://[^/\s\"']*(?:pypi|npm|registry|artifact|nexus|mirror)",
    re.IGNORECASE,
)


def ours() -> Iterator[tuple[str, str]]:
    """Yield the name and text of every file that is, or is about to be, under version control."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        needs.missing("not a clone, so nobody knows which files are ours")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            yield name, (ROOT / name).read_text("utf-8")


def found(pattern: re.Pattern[str]) -> list[str]:
    """Return `file:line: text` for every line of ours that has a pattern."""
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in ours()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "command",
    ["ruff check", "ruff format --check", "mypy", "lint-imports"],
)
def test_a_linter_has_nothing_to_say(command: str) -> None:
    """With the configuration in pyproject.toml, over everything."""
    program, *options = command.split()
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    """Whatever grows beyond it has a second thing to decide."""
    sizes = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > MOST_LINES} == {}


def test_every_module_says_what_it_decides() -> None:
    """Each begins with a docstring."""
    silent = [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_bytes()))]
    assert silent == []


def test_nothing_is_left_for_later() -> None:
    """No reminder stands in for work, and nothing is excepted from coverage."""
    assert found(UNFINISHED) == []


def test_nothing_tells_of_the_machine_it_was_written_on() -> None:
    """A clone is the same everywhere: no path of a home directory."""
    assert found(WORKSTATION) == []


def test_nothing_names_a_registry() -> None:
    """Where packages come from is the matter of whoever installs."""
    assert found(REGISTRY) == []


_TOGETHER = """
import os

import pytest


@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(4))
def test_it(number, request):
    with open(request.config.rootpath / "workers", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


@pytest.mark.timeout(500)
def test_a_group_of_tests_stays_together(tmp_path: Path) -> None:
    """All tests that boot a machine share one; pytest 9.2 took the groups from xdist 3.8."""
    (tmp_path / "test_together.py").write_text(_TOGETHER)
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--rootdir=."]
    subprocess.run([*command, "-p", "no:cacheprovider"], cwd=tmp_path, check=True, timeout=400)
    assert len(set((tmp_path / "workers").read_text().split())) == 1

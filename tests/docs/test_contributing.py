"""The chapter for developers names what exists, and its commands work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import MANUAL, ROOT, prose, tagged

CHAPTER = (MANUAL / "contributing.md").read_text("utf-8")
FAST = ROOT / "tests" / "fast.txt"
_DEADLINE = 100.0


def run(line: str) -> str:
    """Run a line of the chapter in this tree, with this interpreter; return what it printed."""
    words = line.replace(".venv/bin/python", sys.executable)
    words = words.replace(".venv/bin/pytest", f"{sys.executable} -m pytest")
    done = subprocess.run(
        ["sh", "-c", words], cwd=ROOT, capture_output=True, timeout=_DEADLINE, check=False
    )
    assert done.returncode == 0, (line, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


def test_each_path_exists() -> None:
    """Each file and folder that the chapter names."""
    named = re.findall(r"`((?:shipper|tests|migrations|\.ci)/[\w./-]+)`", prose(CHAPTER))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists() and "NNNN" not in name] == []


def test_the_set_up_is_the_one_of_the_readme() -> None:
    """The line that CI runs, without the tests."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"\n{tagged('sh', 'setup').strip()} && {tagged('sh', 'all').strip()}\n" in readme


def test_the_fast_tests_exist() -> None:
    """Each line of the list is a file or a folder with tests, or an option."""
    assert f"@{FAST.relative_to(ROOT)}" in tagged("sh", "fast")
    places = [line.partition("::")[0] for line in FAST.read_text("utf-8").splitlines()]
    assert [place for place in places if "/" in place and not (ROOT / place).exists()] == []
    rooms = {Path(place).parts[1] for place in places if "/" in place}
    assert rooms >= {"policy", "drain", "config", "contract", "cli", "store", "simulation"}


@pytest.mark.parametrize("tag", ["replay", "seeds", "fast"])
def test_a_command_works(tag: str) -> None:
    """As it stands there; of many seeds and tests only a few, or only their names."""
    line = tagged("sh", tag).strip()
    line = line.replace("--seeds 30", "--seeds 2").replace("-n 2", "--collect-only")
    assert run(line)


@pytest.mark.parametrize("tag", ["man-page", "faults", "campaign"])
def test_a_module_and_its_arguments_are_understood(tag: str) -> None:
    """It is one that exists. What it does has tests of its own."""
    [module, *arguments] = tagged("sh", tag).split()[2:]
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists() or arguments
    if arguments:
        run(f".venv/bin/python -m {module} {' '.join(arguments)} --help")

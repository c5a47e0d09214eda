"""The README: short, with a picture that is true, and a first event that works as written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from shipper import __version__
from tests import needs
from tests.docs.picture import PICTURE, RECORDED, drawn
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")
MOST_LINES = 305
FIRST_EVENT = "## Your first event in five minutes"
_SECONDS = 60
_SANDBOX_PORT = "8808"
# If a line fails, neither the daemon nor the sandbox outlives the script.
_OUTSET = "set -e; trap 'kill $(jobs -p) 2>/dev/null || :' EXIT"
# A person reads the next line of the README meanwhile.
_UNTIL_DELIVERED = "until shipper events show 1 | grep -q delivered; do sleep 0.1; done"


def test_it_is_short() -> None:
    """A reader decides in a minute; everything else is in the manual."""
    assert len(TEXT.splitlines()) <= MOST_LINES


def test_it_leads_with_the_two_commands() -> None:
    """Right after the introduction, the picture and the drawing."""
    first = re.findall(r"^(?:## (.+)|```(\w+))$", TEXT, re.MULTILINE)[:4]
    assert first == [("", "mermaid"), ("Two commands", ""), ("", "sh"), ("", "sh")]


def test_it_names_the_version() -> None:
    """The version of this tree."""
    assert re.findall(r"version (\d+\.\d+\.\d+)", TEXT) == [__version__]


def test_the_picture_is_what_the_demo_shows() -> None:
    """The demo's own code draws the same picture again."""
    picture = PICTURE.read_text("utf-8")
    assert picture == drawn(RECORDED.read_text("utf-8")), "run: python -m tests.docs.picture"
    assert "every&#160;event&#160;is&#160;accounted&#160;for" in picture
    assert PICTURE.relative_to(ROOT).as_posix() in TEXT


def test_the_picture_loads_nothing() -> None:
    """No font, no image and no script from elsewhere."""
    found = re.findall(r"url\((?!#)|href|@import|<script|<image", PICTURE.read_text("utf-8"))
    assert found == []


def test_the_figures_of_the_speed_are_measured_ones() -> None:
    """Each row of the table names a rate and a ratio that stand together in RESULTS.md."""
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8").splitlines()
    shown = re.findall(r"^\|[^|]+\| ([\d,]+) \| (\d+\.\d\d) \|$", TEXT, re.MULTILINE)
    assert len(shown) == 3
    for rate, ratio in shown:
        assert any(f"| {rate} (" in row and f"| {ratio} |" in row for row in results), rate


def steps() -> list[str]:
    """Return the shell blocks of the first event, in their order."""
    section = TEXT.split(FIRST_EVENT)[1].split("\n## ")[0]
    blocks = re.findall(r"^   ```sh\n(.*?)^   ```$", section, re.DOTALL | re.MULTILINE)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in blocks]


def test_the_first_event_is_installed_like_the_demo() -> None:
    """The line that makes the environment is the beginning of the demo's, which CI tries."""
    make, export = steps()[0].splitlines()
    assert f"\n{make} && .venv/bin/shipper demo\n" in TEXT
    assert export.startswith("export PATH=")


def test_the_first_event_arrives(tmp_path: Path) -> None:
    """The steps as they stand there, in a clone. Only the port differs: tests run at once."""
    needs.program("sqlite3")
    clone, scratch = tmp_path / "clone", tmp_path / "scratch"
    clone.mkdir()
    scratch.mkdir()
    (clone / ".venv").symlink_to(sys.prefix)
    port = str(free_port())
    install, *others, show, stop = steps()
    begin = "".join(others).replace(_SANDBOX_PORT, port)
    begin = begin.replace("shipper sandbox &", f"shipper sandbox --port {port} &")
    export = install.splitlines()[1]
    script = f"{_OUTSET}\n{export}\n{begin}\n{_UNTIL_DELIVERED}\n{show}\n{stop}\nwait"
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SHIPPER_")}
    environ |= {"TMPDIR": str(scratch), "PATH": _without_this_environment(environ["PATH"])}
    done = subprocess.run(
        ["timeout", str(_SECONDS), "bash", "-mc", script],
        cwd=clone,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    out = done.stdout.decode()
    assert done.returncode == 0, (out, done.stderr.decode())
    assert re.search(r"^status\s+delivered$", out, re.MULTILINE), out
    assert re.search(r"^default\s+ready\s", out, re.MULTILINE), out


def _without_this_environment(path: str) -> str:
    """Return a PATH without this environment: the README's own line has to add it."""
    this = Path(sys.executable).parent
    return os.pathsep.join(part for part in path.split(os.pathsep) if Path(part) != this)


@pytest.mark.parametrize("step", range(len(steps())))
def test_each_step_is_one_that_a_shell_understands(step: int) -> None:
    """No quote is left open."""
    assert shlex.split(steps()[step].partition("<<'SQL'")[0])

"""The wheel is all that an installation needs; see tests/store for the migrations in it."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from inspect import signature
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from shipper import __version__
from shipper.cli.commands.sandbox import sandbox
from shipper.cli.grammar.manual import CHAPTERS, text_of
from shipper.store.schema.revisions import REVISIONS
from tests.docs.documents import DOCUMENTS, MANUAL, ROOT

_DEADLINE = 120.0
# The build backend's own entry point (PEP 517): offline, and no second copy of pip in between.
_BUILD = "import sys, hatchling.build as backend; backend.build_wheel(sys.argv[1])"
_CONFIG = """\
[database]
url = "sqlite:///shop.db"
[destinations.default]
url = "https://api.example.com/events"
api_id_file = "api_id"
"""

_MANUAL = """\
import json
from shipper.cli.grammar.manual import CHAPTERS, text_of
print(json.dumps({name: text_of(name) for name in CHAPTERS}))
"""

Installed = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a wheel, built from this tree."""
    directory = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(directory)],
        cwd=ROOT,
        capture_output=True,
        timeout=_DEADLINE,
        check=False,
    )
    assert built.returncode == 0, built.stderr.decode()
    [archive] = directory.glob("*.whl")
    return archive


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Installed:
    """Give a way to run Python with the wheel's content and not the source tree."""
    content = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(content)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SHIPPER_")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env={**environ, "PYTHONPATH": str(content)},
            capture_output=True,
            timeout=_DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    (elsewhere / "shipper.toml").write_text(_CONFIG)
    assert run("-c", "import shipper; print(shipper.__file__)").startswith(str(content))
    return run


def test_the_wheel_has_what_belongs_to_it_and_nothing_else(wheel: Path) -> None:
    """The license, the marker of its types, the example and the unit; no tests, no byte code."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    metadata = f"shipper_outbox-{__version__}.dist-info"
    assert {
        f"{metadata}/licenses/LICENSE",
        f"{metadata}/entry_points.txt",
        "shipper/py.typed",
        "shipper/_assets/config.example.toml",
    } <= set(names)
    assert {name.split("/")[0] for name in names} == {"shipper", metadata}
    assert [name for name in names if name.endswith(".pyc")] == []
    assert {f"shipper/manual/{path.name}" for path in MANUAL.iterdir()} <= set(names)
    for kind in ("postgresql", "sqlite"):
        assert f"shipper/_assets/migrations/ddl/0001_{kind}.sql" in names


def test_the_wheels_metadata_say_what_the_readme_says(wheel: Path) -> None:
    """The name that is free, the license, the least Python, and the README as its description."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        head, _, description = archive.read(name).decode().partition("\n\n")
    fields = head.splitlines()
    assert "Name: shipper-outbox" in fields
    assert "License-Expression: Apache-2.0" in fields
    assert "Requires-Python: >=3.11" in fields
    assert description.strip() == (ROOT / "README.md").read_text("utf-8").strip()


def test_the_wheel_alone_says_its_version(installed: Installed) -> None:
    """`python -m shipper` works without the console script."""
    assert __version__ in installed("-m", "shipper", "version")


def test_the_wheel_alone_makes_an_outbox(installed: Installed) -> None:
    """`db upgrade` finds its migrations within the package."""
    installed("-m", "shipper", "db", "upgrade", "--create")
    assert REVISIONS[-1] in installed("-m", "shipper", "db", "current")
    installed("-m", "shipper", "verify")


def test_the_wheel_alone_shows_the_manual(installed: Installed) -> None:
    """Every chapter is in the package: a till is offline, and has no repository."""
    found = json.loads(installed("-c", _MANUAL))
    assert found.keys() == CHAPTERS.keys()
    assert found == {name: text_of(name) for name in CHAPTERS}


def test_the_changelog_has_a_section_for_the_version() -> None:
    """Whoever asks `shipper version` can look up what is in it."""
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == __version__


def test_the_sandbox_has_one_port_everywhere() -> None:
    """What one page says another one doesn't contradict, and it is the default."""
    port = str(signature(sandbox).parameters["port"].default)
    texts = [
        *DOCUMENTS,
        ROOT / "config.example.toml",
        ROOT / "shipper/cli/grammar/parser.py",
        *(ROOT / "shipper/assets").iterdir(),
    ]
    for text in texts:
        named = re.findall(r"(?:127\.0\.0\.1|localhost):(80\d\d|88\d\d)", text.read_text("utf-8"))
        named += re.findall(r"sandbox.{0,40}--port (\d+)", text.read_text("utf-8"))
        assert set(named) <= {port}, text


def _required() -> dict[str, Requirement]:
    """Return what pyproject asks for, of every extra, by its canonical name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    listed = [Requirement(line) for line in (*project["dependencies"], *chain(*extras))]
    return {canonicalize_name(one.name): one for one in listed}


def _pinned() -> dict[str, Version]:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    exact = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pins: dict[str, Version] = {}
    for one in exact:
        (pin,) = one.specifier
        assert pin.operator == "==", one
        pins[canonicalize_name(one.name)] = Version(pin.version)
    assert len(pins) == len(exact)
    return pins


def test_what_everything_is_tested_with_is_what_the_project_asks_for() -> None:
    """Each pin lies within the floor and the ceiling of pyproject, and none is missing."""
    pins = _pinned()
    for name, wanted in _required().items():
        # The machines of these markers aren't those that run the tests.
        if name in pins or wanted.marker is None or wanted.marker.evaluate():
            assert pins[name] in wanted.specifier, f"{wanted} is tested as {pins[name]}"


def test_every_requirement_has_a_floor() -> None:
    """Else whoever has an old one keeps what was mended in it."""
    for wanted in _required().values():
        assert ">=" in {one.operator for one in wanted.specifier}, wanted


@pytest.mark.parametrize(
    ("name", "vulnerable"),
    [
        ("aiohttp", "3.14.2"),  # CVE-2026-69243 and CVE-2026-69244: smuggling behind an upgrade
        ("h11", "0.15.0"),  # CVE-2025-43859: chunks that end in anything
    ],
)
def test_no_version_is_let_in_that_is_known_to_do_harm(name: str, vulnerable: str) -> None:
    """The floor is above it."""
    assert Version(vulnerable) not in _required()[name].specifier

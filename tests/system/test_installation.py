"""Advice names what is there: the directory, the wheel, the repository that this copy came from."""

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from shipper import __version__, resources
from shipper.system import installation
from shipper.system.installation import for_all_users, with_extra

DEADLINE = 120.0


class Record:
    """What an installer has written down."""

    def __init__(self, direct_url: object) -> None:
        self._text = None if direct_url is None else json.dumps(direct_url)

    def read_text(self, name: str) -> str | None:
        """Return it."""
        assert name == "direct_url.json"
        return self._text


@pytest.fixture(autouse=True)
def pip_and_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this environment have pip, and psycopg."""
    monkeypatch.setattr(installation, "find_spec", lambda _: True)


def came_from(monkeypatch: pytest.MonkeyPatch, direct_url: object) -> None:
    """Let an installer have written this down."""
    monkeypatch.setattr(installation, "distribution", lambda _: Record(direct_url))


@pytest.mark.parametrize(("editable", "linked"), [(False, ""), (True, "-e ")])
def test_a_checkout_is_named_with_its_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, editable: bool, linked: str
) -> None:
    """Also where its path needs quotes; for everybody it is copied and not linked to."""
    checkout = tmp_path / "my clone"
    (checkout / ".ci").mkdir(parents=True)
    (checkout / ".ci" / "constraints.txt").touch()
    came_from(monkeypatch, {"url": checkout.as_uri(), "dir_info": {"editable": editable}})
    constraints = f"-c '{checkout}/.ci/constraints.txt'"
    assert with_extra("postgres").endswith(f"{constraints} {linked}'{checkout}[postgres]'")
    assert for_all_users() == (
        "python3 -m venv /opt/shipper &&"
        f" /opt/shipper/bin/pip install {constraints} '{checkout}[postgres]'"
    )


def test_a_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra behind its name."""
    wheel = tmp_path / "shipper_outbox-0.1.0-py3-none-any.whl"
    wheel.touch()
    came_from(monkeypatch, {"url": wheel.as_uri(), "archive_info": {}})
    assert shlex.split(with_extra("postgres"))[-2:] == ["install", f"{wheel}[postgres]"]
    assert shlex.split(for_all_users())[-1] == f"{wheel}[postgres]"


def test_a_repository_is_named_at_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip takes it."""
    git = {"vcs": "git", "commit_id": "5531a75"}
    came_from(monkeypatch, {"url": "https://git.example/shipper.git", "vcs_info": git})
    wanted = "shipper-outbox[postgres] @ git+https://git.example/shipper.git@5531a75"
    assert shlex.split(with_extra("postgres"))[-1] == wanted


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"url": "file:///gone/shipper", "dir_info": {}}, "/gone/shipper[postgres]"),
        (None, f"shipper-outbox[postgres]=={__version__}"),
    ],
)
def test_where_the_source_is_gone_or_unknown_an_extra_is_what_it_requires(
    monkeypatch: pytest.MonkeyPatch, told: object, named: str
) -> None:
    """That can be had wherever shipper came from."""
    came_from(monkeypatch, told)
    monkeypatch.setattr(resources, "_PACKAGE", Path("/site-packages/shipper"))
    [requirement] = shlex.split(with_extra("postgres"))[2:]
    assert requirement.startswith("psycopg[binary]")
    assert shlex.split(for_all_users())[-1] == named


def test_a_tree_that_nobody_installed_is_its_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONPATH."""

    def raise_not_found(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(installation, "distribution", raise_not_found)
    monkeypatch.setattr(installation, "requires", raise_not_found)
    root = Path(resources.__file__).parents[1]
    assert shlex.split(with_extra("postgres"))[-1] == f"{root}[postgres]"


def test_the_installer_is_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's own pip, else Python's, else uv; pipx keeps pip elsewhere."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(scripts))
    monkeypatch.setattr(sys, "executable", "/opt/x/bin/python")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert with_extra("postgres").startswith("/opt/x/bin/python -m pip install ")
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    assert with_extra("postgres").startswith("uv pip install --python /opt/x/bin/python ")
    (scripts / "pip").touch()
    assert with_extra("postgres").startswith(f"{scripts}/pip install ")
    (tmp_path / "pipx_metadata.json").touch()
    assert with_extra("postgres").startswith("pipx runpip shipper-outbox install ")


def test_what_pip_writes_down_is_understood(tmp_path: Path) -> None:
    """The real one, of this tree, as an application's own environment would have it."""
    root = Path(resources.__file__).parents[1]
    told = {"target": str(tmp_path), "root": str(root)}
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", tmp_path, root],
        check=True,
        capture_output=True,
        timeout=DEADLINE,
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
    )
    asked = "from shipper.system.installation import with_extra; print(with_extra('postgres'))"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": told["target"]},
    )
    words = shlex.split(done.stdout)
    assert words[-1] == f"{told['root']}[postgres]"
    assert "-e" not in words

"""`shipper assets`: it prints the files of the package, and never overwrites a changed one."""

import json
from pathlib import Path

import pytest

from tests.cli.command_line import Home

ASSETS = Path(__file__).parents[2] / "shipper" / "assets"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Give a directory to write into."""
    return Home(tmp_path, "sqlite:///shop.db")


def names(home: Home) -> list[str]:
    """Return what `list` names."""
    return [line.partition("\t")[0] for line in home.call("assets", "list").out.splitlines()[1:]]


def test_every_file_of_the_package_is_listed(home: Home) -> None:
    """Each has a purpose, in the table and as JSON."""
    assert sorted(names(home)) == sorted(path.name for path in ASSETS.iterdir())
    found = [json.loads(line) for line in home.call("assets", "list", "--json").out.splitlines()]
    assert [entry["name"] for entry in found] == names(home)
    assert all(entry["purpose"] and len(entry["sha256"]) == 64 for entry in found)


def test_a_file_is_printed_as_it_is(home: Home) -> None:
    """So that it can be piped to where it belongs."""
    for name in names(home):
        content = (ASSETS / name).read_text("utf-8")
        ran = home.call("assets", "show", name)
        assert (ran.status, ran.out, ran.err) == (0, content, "")
        assert home.call("assets", "show", name, "--json").value["content"] == content


def test_a_name_that_is_none_is_told_with_those_that_are(home: Home) -> None:
    """A path that leads out of the package is refused in the same way."""
    for name in ("grafana.json", "../__init__.py"):
        ran = home.call("assets", "show", name)
        assert ran.status == 1
        assert f"there is no asset {name}" in ran.err
        assert "grafana-dashboard.json" in ran.err


def test_all_are_written_and_written_again(home: Home, tmp_path: Path) -> None:
    """Into a directory that is made for it; the same again is no conflict."""
    for _ in range(2):
        ran = home.call("assets", "write", "out")
        assert ran.status == 0
        assert ran.out.splitlines() == [f"out/{name}" for name in names(home)]
    for name in names(home):
        assert (tmp_path / "out" / name).read_bytes() == (ASSETS / name).read_bytes()


def test_what_somebody_has_changed_is_kept(home: Home, tmp_path: Path) -> None:
    """No file is written then, unless --force is given."""
    changed = tmp_path / "prometheus-alerts.yml"
    changed.write_text("mine")
    ran = home.call("assets", "write", ".")
    assert ran.status == 2
    assert "changed by hand: prometheus-alerts.yml" in ran.err
    assert "--force" in ran.err
    assert changed.read_text() == "mine"
    assert not (tmp_path / "grafana-dashboard.json").exists()
    assert home.call("assets", "write", ".", "--force").status == 0
    assert changed.read_bytes() == (ASSETS / changed.name).read_bytes()


def test_a_directory_that_is_none_is_told(home: Home, tmp_path: Path) -> None:
    """The error is one line, without a traceback."""
    ran = home.call("assets", "write", "nowhere/at/all")
    assert (ran.status, "nowhere" in ran.err) == (2, True)
    (tmp_path / "file").write_text("")
    ran = home.call("assets", "write", "file")
    assert (ran.status, "Traceback" in ran.err) == (2, False)

"""The unit that is installed and the one that this version has: what counts as a difference."""

import getpass
import grp
import os
from pathlib import Path

import pytest

from shipper.doctor import unit as module
from shipper.doctor.finding import Finding, Level
from shipper.doctor.unit import check_unit, groups_of, installed, packaged, user_of


def _only(unit: Path | None) -> Finding:
    [finding] = check_unit(unit)
    return finding


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Give an installed unit that is this version's."""
    path = tmp_path / "shipper.service"
    path.write_text(packaged().read_text())
    return path


def test_no_unit_is_no_fault(tmp_path: Path) -> None:
    """A container has none."""
    assert installed([tmp_path / "shipper.service"]) is None
    assert _only(None).level is Level.OK


def test_the_first_place_counts(unit: Path, tmp_path: Path) -> None:
    """As for systemd."""
    assert installed([tmp_path / "gone", unit, tmp_path]) == unit


def test_the_same_unit_is_well(unit: Path) -> None:
    """Comments and empty lines don't count."""
    unit.write_text("# ours\n\n" + unit.read_text())
    assert _only(unit).level is Level.OK


def test_what_a_machine_decides_is_no_drift(unit: Path) -> None:
    """Where the program is, as whom it runs, and on what."""
    text = unit.read_text().replace("User=shipper", "User=shop").replace("/opt/shipper", "/srv")
    unit.write_text(text + "\n[Service]\nReadWritePaths=/srv/shop\n")
    assert _only(unit).level is Level.OK


def test_the_groups_of_a_drop_in_are_the_services(
    unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the README has it for an outbox in the application's own directory."""
    drop_ins = tmp_path / "shipper.service.d"
    drop_ins.mkdir()
    monkeypatch.setattr(module, "_DROP_INS", drop_ins)
    assert groups_of(unit) == set()
    name = grp.getgrgid(os.getegid()).gr_name
    (drop_ins / "override.conf").write_text(f"[Service]\nSupplementaryGroups={name} no_such\n")
    assert groups_of(unit) == {os.getegid()}


def test_a_unit_of_another_version_is_told(unit: Path) -> None:
    """With what is missing and what is too much, a few lines of it."""
    text = unit.read_text().replace("NoNewPrivileges=yes", "NoNewPrivileges=no")
    unit.write_text(text)
    finding = _only(unit)
    assert finding.level is Level.WARNING
    assert "-NoNewPrivileges=yes +NoNewPrivileges=no" in finding.text
    unit.write_text("[Service]\nType=simple\n")
    assert "more" in _only(unit).text


def test_the_user_of_a_unit(unit: Path) -> None:
    """None where it names nobody, or nobody that is there."""
    unit.write_text(f"[Service]\nUser={getpass.getuser()}\n")
    assert user_of(unit) == os.getuid()
    unit.write_text("[Service]\nUser=nobody-of-that-name\n")
    assert user_of(unit) is None
    unit.write_text("[Service]\n")
    assert user_of(unit) is None

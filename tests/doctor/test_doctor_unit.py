"""The unit that is installed and the one that this version has: what counts as a difference."""

import getpass
import grp
import os
import pwd
from functools import partial
from pathlib import Path

import pytest

from shipper.config.loader import SYSTEM_PATH
from shipper.doctor import unit as module
from shipper.doctor.result import CheckLevel, CheckResult
from shipper.doctor.unit import (
    TEMPLATE,
    check_unit,
    check_units,
    credentials_of,
    groups_of,
    installed,
    packaged,
    running_unit,
    start_command,
    user_of,
)
from tests.docs.documents import tagged


def _only(unit: Path | None) -> CheckResult:
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
    assert _only(None).level is CheckLevel.OK


def test_the_first_place_counts(unit: Path, tmp_path: Path) -> None:
    """As for systemd."""
    assert installed([tmp_path / "gone", unit, tmp_path]) == unit


def test_the_same_unit_is_well(unit: Path) -> None:
    """Comments and empty lines don't count."""
    unit.write_text("# ours\n\n" + unit.read_text())
    assert _only(unit).level is CheckLevel.OK


def test_what_a_machine_decides_is_no_drift(unit: Path) -> None:
    """Where the program is, as whom it runs, and on what."""
    text = unit.read_text().replace("User=shipper", "User=shop").replace("/opt/shipper", "/srv")
    unit.write_text(text + "\n[Service]\nReadWritePaths=/srv/shop\n")
    assert _only(unit).level is CheckLevel.OK


@pytest.fixture
def drop_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory of the unit's drop-ins."""
    directory = tmp_path / "shipper.service.d"
    directory.mkdir()
    monkeypatch.setattr(module, "_DROP_INS", directory)
    return directory


def test_the_groups_of_a_drop_in_are_the_services(unit: Path, drop_ins: Path) -> None:
    """As the manual has it for an outbox in the application's own directory."""
    assert groups_of(unit) == set()
    name = grp.getgrgid(os.getegid()).gr_name
    shown = tagged("ini", "drop-in").replace("SupplementaryGroups=shop", "SupplementaryGroups={}")
    (drop_ins / "override.conf").write_text(shown.format(f"{name} no_such"))
    assert groups_of(unit) == {os.getegid()}
    (drop_ins / "override.conf").write_text(f"[Service]\nUser=root\nGroup={name}\n")
    assert (user_of(unit), groups_of(unit)) == (0, {os.getegid()})


def test_what_systemd_hands_over_need_not_be_readable(unit: Path, drop_ins: Path) -> None:
    """It reads these files as root; where a drop-in takes that back, the daemon has to."""
    assert credentials_of(None) == set()
    assert credentials_of(unit) == {Path("/etc/shipper/api_id")}
    (drop_ins / "a.conf").write_text("[Service]\nLoadCredential=b_api_id:/etc/shipper/b\n")
    assert credentials_of(unit) == {Path("/etc/shipper/api_id"), Path("/etc/shipper/b")}
    (drop_ins / "b.conf").write_text("[Service]\nLoadCredential=\n")
    assert credentials_of(unit) == set()


def test_a_unit_of_another_version_is_told(unit: Path) -> None:
    """With what is missing and what is too much, a few lines of it."""
    text = unit.read_text().replace("NoNewPrivileges=yes", "NoNewPrivileges=no")
    unit.write_text(text)
    finding = _only(unit)
    assert finding.level is CheckLevel.WARNING
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


def test_a_unit_of_another_name_is_ours_if_it_runs_shipper(unit: Path) -> None:
    """It says as whom, and what starts it; a program of a like name doesn't count."""
    place = unit.rename(unit.with_name("till.service"))
    place.with_name("shop.service").write_text("[Service]\nExecStart=/opt/shop/bin/run shop\n")
    place.with_name("gone.service").symlink_to("nowhere")
    assert running_unit([unit]) == place
    assert installed([unit]) is None
    place.write_text("[Service]\nExecStart=/opt/shipper/bin/shipper -c /etc/till.toml run\n")
    assert running_unit([unit]) == place
    place.write_text("[Service]\nExecStart=/opt/shipper/bin/shipper sandbox\n")
    assert running_unit([unit]) is None


@pytest.mark.parametrize(
    ("name", "booted", "config", "command"),
    [
        ("shipper.service", True, None, "systemctl start shipper"),
        ("till.service", True, SYSTEM_PATH, "systemctl start till"),
        ("shipper.service", False, SYSTEM_PATH, "shipper run"),
        (None, True, None, "shipper run"),
        (None, True, Path("shipper.toml"), "shipper run"),
        (None, False, Path("/srv/till.toml"), "shipper run -c /srv/till.toml"),
    ],
)
def test_what_starts_the_daemon_is_what_is_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str | None,
    booted: bool,
    config: Path | None,
    command: str,
) -> None:
    """No unit, no `systemctl`; nor where no systemd runs, as in a container."""
    monkeypatch.setattr(
        module, "running_unit", lambda **_: None if name is None else tmp_path / name
    )
    monkeypatch.setattr(module, "_BOOTED", tmp_path if booted else tmp_path / "gone")
    assert start_command(config) == command


# -- several daemons on one machine ---------------------------------------------------------------

TILL = SYSTEM_PATH.with_name("till-2.toml")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Give an installed template that is this version's."""
    path = tmp_path / TEMPLATE
    path.write_text(packaged(TEMPLATE).read_text())
    return path


def test_a_daemon_of_the_template_has_the_unit_of_its_configuration(
    template: Path, unit: Path
) -> None:
    """Beside the usual unit, which has another configuration; the template itself runs nothing."""
    assert running_unit([unit], config=TILL) == template.with_name("shipper@till-2.service")
    assert running_unit([unit], config=SYSTEM_PATH) == unit
    assert running_unit([unit]) == unit
    unit.write_text(unit.read_text().replace(str(SYSTEM_PATH), str(TILL)))
    assert running_unit([unit], config=TILL) == unit, "it was installed with -c"
    unit.unlink()
    assert running_unit([unit]) is None


@pytest.mark.parametrize("config", ["/etc/till-2.toml", "/etc/shipper/a b.toml", "/etc/shipper/x"])
def test_another_configuration_has_no_daemon_of_the_template(template: Path, config: str) -> None:
    """It isn't in that directory, or a unit can't have its name."""
    assert running_unit([template.with_name("shipper.service")], config=Path(config)) is None


def test_what_the_template_names_is_of_each_daemon(template: Path, drop_ins: Path) -> None:
    """Its credentials, and the drop-ins of all and of this one."""
    instance = template.with_name("shipper@till-2.service")
    assert credentials_of(instance) == {Path("/etc/shipper/till-2.api_id")}
    for name, user in ((TEMPLATE, "root"), (instance.name, getpass.getuser())):
        directory = drop_ins.with_name(f"{name}.d")
        directory.mkdir()
        (directory / "a.conf").write_text(f"[Service]\nUser={user}\n")
        assert user_of(instance) == pwd.getpwnam(user).pw_uid
    assert user_of(template.with_name("shipper@till-3.service")) == 0


def test_the_template_of_another_version_is_told(template: Path, unit: Path) -> None:
    """Beside the usual unit, each for itself."""
    template.write_text(template.read_text().replace("NoNewPrivileges=yes", "NoNewPrivileges=no"))
    usual, other = check_units([unit, template])
    assert usual.level is CheckLevel.OK
    assert other.level is CheckLevel.WARNING
    assert "sudo shipper service install --instance NAME" in str(other.fix)
    assert "systemctl edit shipper@.service" in str(other.fix)
    [alone] = check_units([None, None])
    assert alone.text == "no systemd unit is installed"


def test_a_daemon_of_the_template_is_started_by_its_name(
    template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `status` says it for this configuration."""
    places = [template.with_name("shipper.service")]
    monkeypatch.setattr(module, "running_unit", partial(running_unit, places))
    monkeypatch.setattr(module, "_BOOTED", template.parent)
    assert start_command(TILL) == "systemctl start shipper@till-2"

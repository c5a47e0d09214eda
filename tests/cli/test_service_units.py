"""The files that `shipper service` puts in place, made for one machine, and shown."""

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from shipper.cli.setup import service, service_steps
from shipper.cli.setup.units import (
    PLACES,
    RELAXED,
    TEMPLATE_PLACE,
    Machine,
    is_untouched,
    packaged,
    texts,
)
from shipper.doctor.unit import TEMPLATE, UNIT
from shipper.errors import UsageError
from tests import needs
from tests.cli.command_line import Home

PROGRAM = Path("/srv/shipper/bin/shipper")
SOMEBODY = pwd.getpwuid(1).pw_name


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Give a directory to run the command in, with a program that a service could run."""
    monkeypatch.setattr(service, "_program", lambda: PROGRAM)
    monkeypatch.setattr(service, "is_in_a_home", lambda _: False)
    return Home(tmp_path, f"sqlite:///{tmp_path / 'shop.db'}")


def unit(**particular: object) -> str:
    """Return the unit for a machine."""
    return texts(Machine(PROGRAM, **particular))[PLACES[UNIT]]  # type: ignore[arg-type]


def test_the_unit_is_the_packaged_one_with_this_program() -> None:
    """Nothing else differs, so that what is tested is what is installed."""
    mark, _, text = unit().partition("\n")
    assert mark.startswith("#")
    assert text == packaged(UNIT).replace("/opt/shipper/bin/shipper", str(PROGRAM))


def test_it_runs_as_another_user() -> None:
    """Whose group gets the directories; a user who is there needs no sysusers."""
    made = texts(Machine(PROGRAM, "shop", "tills", Path("/etc/till.toml")))
    assert PLACES["shipper.sysusers"] not in made
    assert "\nUser=shop\nGroup=tills\n" in made[PLACES[UNIT]]
    assert "\nEnvironment=SHIPPER_CONFIG=/etc/till.toml\n" in made[PLACES[UNIT]]
    directories = made[PLACES["shipper.tmpfiles"]]
    assert "\nd /etc/shipper 0750 root tills -\n" in directories
    assert "\nd /var/lib/shipper 2770 shop tills -\n" in directories


def test_a_configuration_that_the_service_may_not_read_is_a_step(public_path: Path) -> None:
    """A configuration with a password, which is private."""
    config = public_path / "config.toml"
    config.touch(0o600)
    private = Machine(PROGRAM, SOMEBODY, "tills", config)
    assert list(service_steps._readable(private)) == [f"chgrp tills {config}; chmod 640 {config}"]
    config.chmod(0o644)
    assert list(service_steps._readable(private)) == []
    assert list(service_steps._readable(Machine(PROGRAM, config=public_path / "gone"))) == []


def test_a_program_in_a_home_can_be_seen_and_not_changed() -> None:
    """For instance a program of pipx or uv, installed by an ordinary user."""
    assert "\nProtectHome=yes\n" in unit()
    assert "\nProtectHome=read-only\n" in unit(homes=(PROGRAM,))


@pytest.mark.parametrize("path", ["/opt/my shop/shipper", "/opt/%n/shipper", '/opt/"/shipper'])
def test_what_means_something_to_systemd_is_refused(path: str) -> None:
    """Escaping could be forgotten in one of the places."""
    with pytest.raises(UsageError, match="unit can't contain the path"):
        texts(Machine(Path(path)))


def test_a_change_by_hand_is_recognised() -> None:
    """So is a file that `service install` didn't write."""
    assert is_untouched(unit())
    assert not is_untouched(unit().replace("WatchdogSec=60", "WatchdogSec=61"))
    assert not is_untouched(packaged(UNIT))
    assert not is_untouched("")


def test_print_shows_what_would_be_put_where(home: Home) -> None:
    """For a person with the places, for a program as an object; nothing is written."""
    shown = home.call("service", "print")
    assert shown.status == 0
    for place in PLACES.values():
        assert f"# {place}\n" in shown.out
    assert home.call("service", "print", "--json").value == {
        str(place): text for place, text in texts(Machine(PROGRAM)).items()
    }
    as_somebody = home.call("service", "print", "--run-as", SOMEBODY)
    assert f"\nUser={SOMEBODY}\n" in as_somebody.out


@pytest.mark.parametrize(
    ("run_as", "reason"), [("root", "must not run as root"), ("no-such-user", "there is no user")]
)
def test_a_user_that_makes_no_sense_is_refused(home: Home, run_as: str, reason: str) -> None:
    """Exit 2, with what to do instead."""
    refused = home.call("service", "print", "--run-as", run_as, "--json")
    assert refused.status == 2
    assert reason in json.loads(refused.err)["error"]


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_it_needs_root(home: Home, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Exit status 77 before anything else, with the command to run."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = home.call("service", command)
    assert refused.status == 77
    assert f"run: sudo {PROGRAM} service {command}" in refused.err


@pytest.mark.parametrize(
    "program", ["/tmp/venv/bin/shipper", "/srv/me/.cache/uv/archive-v0/x/bin/shipper"]
)
def test_a_program_that_is_soon_gone_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """For instance the program of `uvx`, which is in a cache."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(service, "_program", lambda: Path(program))
    monkeypatch.setattr(shutil, "which", "/bin/{}".format)
    refused = home.call("service", "install")
    assert refused.status == 2
    assert "temporary or private directory" in refused.err


def test_a_machine_without_systemd_is_told_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that prints the files for another service manager."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    refused = home.call("service", "install")
    assert refused.status == 2
    assert "shipper service print" in refused.err


@pytest.mark.parametrize(("instance", "name"), [(None, UNIT), ("shop-1", "shipper@shop-1.service")])
def test_the_packaged_unit_has_no_fault_that_systemd_sees(
    tmp_path: Path, instance: str | None, name: str
) -> None:
    """Where there is a systemd to ask; the program is the only thing that isn't here."""
    analyze = needs.program("systemd-analyze", "systemd")
    file = tmp_path / name
    text = next(iter(texts(Machine(PROGRAM, instance=instance)).values()))
    file.write_text(text.replace(str(PROGRAM), "/bin/true"))
    options = ["--offline=true", "--threshold=13"]
    done = subprocess.run(
        [analyze, "security", *options, str(file)], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize(("status", "steps"), [(0, 1), (1, 0)])
def test_in_a_container_the_drop_in_is_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, steps: int
) -> None:
    """It is a command that works. It isn't listed elsewhere, or without systemd-detect-virt."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(service_steps._relaxed(tmp_path / "d")) == []
    tool = tmp_path / "systemd-detect-virt"
    tool.write_text(f"#!/bin/sh\nexit {status}\n")
    tool.chmod(0o755)
    found = list(service_steps._relaxed(tmp_path / "d"))
    assert len(found) == steps
    for step in found:
        words = step.partition("   (")[0]
        subprocess.run(["/usr/bin/install", *words.split()[1:]], check=True)
        assert (tmp_path / "d" / RELAXED).read_text() == packaged(RELAXED)


# -- several daemons on one machine ---------------------------------------------------------------


def test_the_template_is_shown_for_a_daemon_of_a_name(home: Home) -> None:
    """In the place of the usual unit; each daemon has the same file."""
    shown = home.call("service", "print", "--instance", "shop-1", "--json").value
    assert set(shown) == {str(TEMPLATE_PLACE), *map(str, PLACES.values())} - {str(PLACES[UNIT])}
    assert shown == home.call("service", "print", "--instance", "shop_2", "--json").value
    text = shown[str(TEMPLATE_PLACE)].partition("\n")[2]
    assert text == packaged(TEMPLATE).replace("/opt/shipper/bin/shipper", str(PROGRAM))


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".hidden", "-x", "", "a b", "%i", "a@b", "kasse-ü", "a\\x2fb", "x" * 64]
)
@pytest.mark.parametrize("command", ["print", "install", "uninstall"])
def test_a_name_that_a_unit_cannot_have_is_refused(home: Home, command: str, name: str) -> None:
    """Exit 2, with what a name can be; it is never escaped."""
    refused = home.call("service", command, f"--instance={name}")
    assert refused.status == 2
    assert f"a daemon can't have the name {name!a}" in refused.err
    assert "--instance shop-1" in refused.err


def test_the_configuration_of_the_usual_unit_is_not_another_ones(home: Home) -> None:
    """Two services would ship one outbox."""
    refused = home.call("service", "print", "--instance", "config")
    assert refused.status == 2
    assert "/etc/shipper/config.toml is the configuration of shipper.service" in refused.err


def test_a_daemon_of_a_name_reads_no_other_configuration(home: Home) -> None:
    """Its name says which one it reads."""
    for command in ("print", "install"):
        refused = home.call("-c", "/etc/till.toml", "service", command, "--instance", "shop-1")
        assert refused.status == 2
        assert "the daemon shop-1 reads /etc/shipper/shop-1.toml" in refused.err


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_the_command_for_root_has_the_name(
    home: Home, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It can be copied."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = home.call("service", command, "--instance", "shop-1")
    assert refused.status == 77
    assert f"sudo {PROGRAM} service {command} --instance shop-1" in refused.err


def test_the_steps_of_a_daemon_are_with_its_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration, its API ID, its directory and its unit."""
    monkeypatch.setattr(service_steps, "_succeeds", lambda *_: False)
    config = Path("/etc/shipper/no-such-shop.toml")
    steps = list(service_steps.next_steps(Machine(PROGRAM, config=config, instance="no-such-shop")))
    assert steps[0].startswith(
        f"{PROGRAM} init -o {config} --database sqlite:////var/lib/shipper/no-such-shop/outbox.db"
        " --api-id-file /etc/shipper/no-such-shop.api_id "
    )
    assert steps[-1] == "systemctl enable --now shipper@no-such-shop.service"


@pytest.mark.parametrize(
    ("url", "in_group"), [("sqlite:////var/lib/shop/shop.db", True), ("postgresql:///shop", False)]
)
def test_only_beside_a_file_the_application_needs_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, *, in_group: bool
) -> None:
    """On a server it needs rights of its role instead."""
    monkeypatch.setattr(service_steps, "_succeeds", lambda *_: False)
    config = tmp_path / "shop.toml"
    config.write_text(
        f'[database]\nurl = "{url}"\n[destinations.default]\nurl = "https://h/"\napi_id = "x"\n'
    )
    steps = list(service_steps.next_steps(Machine(PROGRAM, config=config)))
    assert any(step.startswith("usermod -aG") for step in steps) is in_group

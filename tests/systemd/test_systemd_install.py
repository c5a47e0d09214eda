"""`shipper service` on a machine: what it puts in place, says, refuses, and takes away again."""

import json
from pathlib import Path

import pytest

from shipper.cli.setup.units import PLACES
from tests.systemd.till import APPLICATION, CONFIG, CREDENTIAL, OUTBOX, PROGRAM, UNIT, Till

pytestmark = pytest.mark.xdist_group("machine")  # of which there is one

HIDDEN = Path("/root") / "hidden"
FILES = [str(place) for place in PLACES.values()]


async def test_it_is_in_place_after_the_first_time(till: Till) -> None:
    """The files, the user, and the directories with their modes; nothing was started."""
    for file in FILES:
        await till.run("test", "-f", file)
    stat = await till.run("stat", "--format=%a %U %G", "/etc/shipper", "/var/lib/shipper")
    assert stat.out.splitlines() == ["750 root shipper", "2770 shipper shipper"]
    assert (await till.shows("ActiveState"))["ActiveState"] == "inactive"


async def test_it_can_be_repeated(till: Till) -> None:
    """And says what there was to do, and what is left to do."""
    again = await till.run(PROGRAM, "service", "install", "--json")
    said = json.loads(again.out)
    assert said["steps"][:3] == [f"{file} is up to date" for file in FILES]
    assert said["next"][-1] == f"systemctl enable --now {UNIT}"
    await till.start()
    while_running = await till.run(PROGRAM, "service", "install")
    assert f"systemctl restart {UNIT}" in while_running.out
    await till.becomes(ActiveState="active")


@pytest.mark.parametrize("command", ["install", "uninstall"])
async def test_without_root_it_says_how(till: Till, command: str) -> None:
    """Exit 77, and nothing was touched."""
    refused = await till.run(PROGRAM, "service", command, user=APPLICATION, check=False)
    assert refused.status == 77
    assert f"run: sudo {PROGRAM} service {command}" in refused.err


@pytest.mark.parametrize("command", ["install", "uninstall"])
async def test_what_a_person_has_changed_is_left_alone(till: Till, command: str) -> None:
    """With advice where the change belongs."""
    await till.run("sed", "--in-place=.before", "s/^RestartSec=.*/RestartSec=7/", FILES[0])
    try:
        refused = await till.run(PROGRAM, "service", command, check=False)
        assert refused.status == 2
        assert "keep your changes in a drop-in" in refused.err
        assert "RestartSec=7" in (await till.run("cat", FILES[0])).out
    finally:
        await till.run("mv", f"{FILES[0]}.before", FILES[0])


async def test_a_program_that_the_user_cannot_run_is_refused(till: Till) -> None:
    """Before anything is written: an installation in root's home is nobody else's."""
    await till.run("cp", "--recursive", "/opt/shipper", str(HIDDEN))
    command = (str(HIDDEN / "bin/python"), str(HIDDEN / "bin/shipper"), "service", "install")
    refused = await till.run(*command, check=False)
    assert refused.status == 77
    assert f"shipper can't run {HIDDEN}/bin/shipper" in refused.err


async def test_it_runs_as_the_applications_user(till: Till) -> None:
    """Then that one's files are all that it needs."""
    try:
        await till.run(PROGRAM, "service", "install", "--run-as", APPLICATION)
        await till.start()
        pid = await till.main_pid()
        owner = await till.run("stat", "--format=%U", f"/proc/{pid}")
        assert owner.out.strip() == APPLICATION
        await till.insert("u1-1")
        await till.arrives("u1-1")
    finally:
        await till.run("systemctl", "stop", UNIT)
        await till.run(PROGRAM, "service", "install")


async def test_it_is_taken_away_without_the_data(till: Till) -> None:
    """Also while it runs; a second time there is nothing to do."""
    await till.run("systemctl", "enable", "--now", UNIT)
    try:
        await till.run(PROGRAM, "service", "uninstall")
        for file in FILES:
            await till.run("test", "!", "-e", file)
        gone = await till.run("systemctl", "is-active", UNIT, check=False)
        assert gone.status != 0
        for data in (CONFIG, CREDENTIAL, OUTBOX):
            await till.run("test", "-f", data)
        again = await till.run(PROGRAM, "service", "uninstall")
        assert again.out == "nothing was installed\n"
    finally:
        await till.run(PROGRAM, "service", "install")
    await till.insert("u1-1")
    await till.start()
    await till.arrives("u1-1")

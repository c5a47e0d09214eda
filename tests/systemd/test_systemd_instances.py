"""Several daemons on one machine, each with a configuration and an outbox of its own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shipper.cli.setup.units import PLACES, TEMPLATE_PLACE
from tests.daemon.harness import API_ID
from tests.systemd.test_systemd_service import EXPOSURE_AT_MOST
from tests.systemd.till import APPLICATION, PROGRAM, UNIT, Till

pytestmark = pytest.mark.xdist_group("machine")  # of which there is one

EAST, WEST = "shop-1", "shop_2.west"
BOTH = (EAST, WEST)


def unit_of(name: str) -> str:
    """Return the unit of one of the two."""
    return f"shipper@{name}.service"


def outbox_of(name: str) -> str:
    """Return where one of the two has its events."""
    return f"/var/lib/shipper/{name}/outbox.db"


async def installed(till: Till, name: str) -> None:
    """Install one as the command says, and follow the steps that it prints."""
    done = await till.run(PROGRAM, "service", "install", "--instance", name, "--json")
    init = json.loads(done.out)["next"][0].partition("   (")[0].split()
    assert init[:4] == [PROGRAM, "init", "-o", f"/etc/shipper/{name}.toml"]
    await till.run(*init, "--api-id", API_ID, "--url", till.sandbox.events_url)
    again = await till.run(PROGRAM, "service", "install", "--instance", name, "--json")
    assert json.loads(again.out)["next"][-1] == f"systemctl enable --now {unit_of(name)}"


async def delivers(till: Till, name: str, *events: str) -> None:
    """Write events to one of the two, and wait until they have arrived."""
    till.outbox = outbox_of(name)
    await till.insert(*events)
    await till.arrives(*events)
    await till.settled()


@pytest.fixture
async def two(till: Till) -> AsyncIterator[Till]:
    """Give a till with two daemons that run, beside the usual service, which doesn't."""
    try:
        for name in BOTH:
            await installed(till, name)
            await till.run("systemctl", "enable", "--now", unit_of(name))
        yield till
    finally:
        for name in BOTH:
            await till.run("systemctl", "disable", "--now", unit_of(name), check=False)
            files = f"/etc/shipper/{name}.* /var/lib/shipper/{name} {TEMPLATE_PLACE}"
            await till.run("sh", "-c", f"rm -rf {files}")
        await till.run(PROGRAM, "service", "install")


async def test_each_ships_its_own_outbox(two: Till) -> None:
    """As the same user, with the API ID that systemd has passed, and nothing of the other's."""
    await delivers(two, EAST, "u1-1", "u2-1")
    await delivers(two, WEST, "u3-1")
    for name, other in (BOTH, BOTH[::-1]):
        shown = await two.run("systemctl", "show", unit_of(name), "--property=MainPID", "--value")
        pid = shown.out.strip()
        owner = await two.run("stat", "--format=%U", f"/proc/{pid}")
        assert owner.out.strip() == "shipper"
        inside = ("nsenter", f"--target={pid}", "--mount")
        refused = await two.run(*inside, "touch", f"/var/lib/shipper/{other}/x", check=False)
        assert "Read-only file system" in refused.err
        secret = f"/etc/shipper/{name}.api_id"
        assert (
            "Permission denied" in (await two.run("cat", secret, user=APPLICATION, check=False)).err
        )
        status = await two.run(PROGRAM, "-c", f"/etc/shipper/{name}.toml", "doctor", check=False)
        assert f"{TEMPLATE_PLACE} is the one of this version" in status.out


async def test_one_that_stops_takes_nothing_of_the_other_away(two: Till) -> None:
    """Its runtime directory goes with it, and only its own; nor does the usual unit's take both."""
    await two.run("test", "-d", f"/run/shipper-{EAST}")
    await two.start()
    await two.run("systemctl", "stop", UNIT)
    await two.run("systemctl", "stop", unit_of(EAST))
    await two.run("test", "!", "-e", f"/run/shipper-{EAST}")
    await two.run("test", "-d", f"/run/shipper-{WEST}")
    await delivers(two, WEST, "u1-1")
    doctor = await two.run(PROGRAM, "-c", f"/etc/shipper/{EAST}.toml", "doctor", check=False)
    assert f"systemctl start shipper@{EAST}" in doctor.out + doctor.err


async def test_systemd_has_nothing_to_say_about_the_template(two: Till) -> None:
    """No warning, and hardly anything exposed."""
    verified = await two.run("systemd-analyze", "verify", unit_of(WEST))
    assert verified.out + verified.err == ""
    threshold = f"--threshold={EXPOSURE_AT_MOST * 10:.0f}"
    await two.run("systemd-analyze", "security", "--no-pager", threshold, unit_of(WEST))


async def test_a_name_with_a_dash_is_the_name_of_the_file(two: Till) -> None:
    """With %I, shop-1 would be shop/1."""
    shown = await two.run("systemctl", "show", unit_of(EAST), "--property=Environment")
    assert f"SHIPPER_CONFIG=/etc/shipper/{EAST}.toml" in shown.out
    await two.run("test", "-d", f"/var/lib/shipper/{EAST}")


@pytest.mark.parametrize("name", ["a/b", "../x", "", ".hidden", "a b", "%i", "x" * 64, "config"])
async def test_a_name_that_no_unit_can_have_is_refused(till: Till, name: str) -> None:
    """Exit 2, with what to do, and nothing was written."""
    refused = await till.run(PROGRAM, "service", "install", "--instance", name, check=False)
    assert refused.status == 2
    assert "--instance" in refused.err
    await till.run("test", "!", "-e", str(TEMPLATE_PLACE))


async def test_the_template_goes_with_the_last_one(two: Till) -> None:
    """What another daemon of the machine needs stays; so does all data."""
    first = await two.run(PROGRAM, "service", "uninstall", "--instance", EAST)
    assert f"kept {TEMPLATE_PLACE} for {unit_of(WEST)}" in first.out
    gone = await two.run("systemctl", "is-enabled", unit_of(EAST), check=False)
    assert gone.status != 0
    await delivers(two, WEST, "u1-1")
    second = await two.run(PROGRAM, "service", "uninstall", "--instance", WEST)
    assert f"removed {TEMPLATE_PLACE}" in second.out
    for place in PLACES.values():
        await two.run("test", "-f", str(place))
    for name in BOTH:
        active = await two.run("systemctl", "is-active", unit_of(name), check=False)
        assert active.status != 0
        await two.run("test", "-f", outbox_of(name))
    again = await two.run(PROGRAM, "service", "uninstall", "--instance", WEST)
    assert again.out == "nothing was installed\n"


async def test_without_the_usual_unit_its_files_stay_while_there_is_a_template(two: Till) -> None:
    """The user and the directories are everyone's."""
    await two.run(PROGRAM, "service", "uninstall")
    await two.run("test", "!", "-e", str(PLACES[UNIT]))
    for place in {*PLACES.values()} - {PLACES[UNIT]}:
        await two.run("test", "-f", str(place))
    await delivers(two, EAST, "u1-1")
    await two.run("systemctl", "reload", unit_of(EAST))
    await delivers(two, EAST, "u1-2")


def test_the_packaged_template_is_the_unit_for_another_place() -> None:
    """All but a few lines is the same, so what holds for the one holds for the other."""
    systemd = Path(__file__).parents[2] / "systemd"

    def lines(name: str) -> set[str]:
        text = (systemd / name).read_text("utf-8").splitlines()
        return {line for line in text if line and not line.startswith("#")}

    usual, template = lines(UNIT), lines("shipper@.service")
    assert {line.partition("=")[0] for line in usual ^ template} == {
        "Description",
        "Environment",
        "LoadCredential",
        "StateDirectory",
        "RuntimeDirectory",
    }
    assert all("%i" in line for line in template - usual)

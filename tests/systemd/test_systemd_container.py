"""A container without rights of its own, where the unit's sandboxing can't be done."""

from collections.abc import AsyncIterator

import pytest

from tests import needs
from tests.systemd.machine import Machine, why_not
from tests.systemd.till import CREDENTIAL, PROGRAM, UNIT, Till, install

# Of one session, because two machines at once are slow.
pytestmark = pytest.mark.xdist_group("machine")


@pytest.fixture
async def container(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Till]:
    """Give a till in such a container, with the unit installed."""
    reason = why_not()
    if reason is not None:
        needs.missing(f"no real systemd: {reason}")
    own_users = ("--private-users=identity", "--private-users-ownership=off")
    machine = Machine(tmp_path_factory.mktemp("container"), *own_users)
    try:
        machine.build()
        await machine.boot()
        await install(machine)
        till = Till(machine)
        await till.open()
        await machine.forbid_namespaces()
        yield till
        await till.close()
    finally:
        machine.close()


async def test_without_namespaces_the_drop_in_lets_it_start(
    container: Till,
) -> None:
    """`service install` knows that it is in a container; its step, as it stands there, works."""
    till = container
    failed = await till.run("systemctl", "start", UNIT, check=False)
    assert failed.status != 0
    assert (await till.shows("ExecMainStatus"))["ExecMainStatus"] == "243"
    await till.run("systemctl", "stop", UNIT)
    said = await till.run(PROGRAM, "service", "install")
    [step] = [line for line in said.out.splitlines() if "this is a container" in line]
    assert "243/CREDENTIALS" in step
    await till.run("sh", "-c", step.partition(". ")[2].partition("   (")[0])
    await till.run("sh", "-c", f"chgrp shipper {CREDENTIAL}; chmod 640 {CREDENTIAL}")
    await till.run("systemctl", "daemon-reload")
    await till.run("systemctl", "start", UNIT)
    await till.becomes(ActiveState="active")
    await till.insert("u1-1")
    await till.arrives("u1-1")

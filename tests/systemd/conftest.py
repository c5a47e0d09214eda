"""One machine for all tests of this folder, with shipper installed."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests import needs
from tests.systemd.machine import Machine, why_not
from tests.systemd.till import Till, install


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Give a booted machine in which the unit is installed and has never been started."""
    reason = why_not()
    if reason is not None:
        needs.missing(f"no real systemd: {reason}")
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        machine.build()
        asyncio.run(_set_up(machine))
        yield machine
    finally:
        machine.close()


async def _set_up(machine: Machine) -> None:
    await machine.boot()
    await install(machine)


@pytest.fixture
async def till(machine: Machine) -> AsyncIterator[Till]:
    """Give the till with a configuration, an empty outbox and an API; the service is stopped."""
    till = Till(machine)
    try:
        await till.open()
        yield till
    finally:
        await till.close()

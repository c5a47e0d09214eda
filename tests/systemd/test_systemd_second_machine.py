"""Two machines on one PostgreSQL, the second as the README says: they share, and take over."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import make_url

from shipper.sandbox import InjectedFault
from tests.conftest import _migrate
from tests.daemon.crew import Crew
from tests.daemon.harness import Shop, several
from tests.daemon.processes import PATIENCE, until
from tests.docs.documents import blocks
from tests.guarded import Server
from tests.systemd.machine import Machine
from tests.systemd.till import CONFIG, PROGRAM, UNIT, Till, install

pytestmark = pytest.mark.xdist_group("machine")  # of which the first is that of all tests

USERS = 16
PLACES = 4
SLOW = InjectedFault("slow", delay=0.1)
VERY_SLOW = InjectedFault("slow", delay=60.0)


class Two(NamedTuple):
    """Both machines, and the outbox that they share."""

    first: Till
    second: Till
    crew: Crew

    @property
    def names(self) -> tuple[str, str]:
        """The daemons' names: those of their machines."""
        return self.first.machine.name, self.second.machine.name

    async def share(self) -> None:
        """Wait until each has half of the shards."""
        await until(lambda: self.crew.shares() == dict.fromkeys(self.names, 32))


@pytest.fixture
async def two(
    till: Till, guarded: Server, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Two]:
    """Give the first, which ships, and the second, where shipper is in /opt/shipper."""
    url = make_url(guarded.own("shipper")).set(drivername="postgresql+psycopg")
    own = url.render_as_string(hide_password=False)
    _migrate(own)
    shop, machine = Shop(own, tmp_path), Machine(tmp_path_factory.mktemp("second"))
    try:
        machine.build()
        await machine.boot()
        await install(machine)
        till.configure(timeout="4s", max_in_flight=2 * PLACES)
        config = till.machine.root / CONFIG[1:]
        usual = f'"sqlite:///{till.outbox}"'
        text = config.read_text("utf-8").replace(usual, f'"{guarded.url("shipper", "first-word")}"')
        till.machine.write(CONFIG, text, 0o640)
        await till.run("chgrp", "shipper", CONFIG)
        await till.run("systemctl", "start", UNIT)
        yield Two(till, Till(machine), Crew(shop))
    finally:
        machine.close()
        await shop.close()


async def follow_the_readme(two: Two) -> None:
    """Do on the second what its section says, with `cp` between the machines' files for `scp`."""
    [steps] = [block.text for block in blocks() if block.section == "A second machine"]
    for step in steps.splitlines():
        words = step.partition("#")[0].split()
        if words[0] == "scp":
            assert words[1] == "-p"
            for source in words[2:-1]:
                path = source.removeprefix("FIRST:")[1:]
                shutil.copy2(two.first.machine.root / path, two.second.machine.root / path)
        else:
            await two.second.run(*words)


async def test_a_second_machine_shares_gives_back_and_is_replaced(two: Two) -> None:
    """Stopped, it gives all back at once; without power, once its lease is over."""
    first, second, crew = two
    sandbox, shop = first.sandbox, crew.shop
    await follow_the_readme(two)
    await second.becomes(ActiveState="active")
    await two.share()
    pid = await first.main_pid()

    sandbox.answer_for = lambda _: SLOW
    events = several(USERS, 4)
    shop.add(*events)
    await sandbox.until(lambda ledger: ledger.summary().requests >= USERS, PATIENCE)
    await second.run("systemctl", "stop", UNIT)
    await until(lambda: crew.shares() == {two.names[0]: 64})
    await shop.settled()
    assert sandbox.ledger.summary().repeats == 0
    assert "daemon.took_over" not in await first.journal()

    await second.start()
    await two.share()
    sandbox.answer_for = lambda _: VERY_SLOW
    more = several(USERS, 2, first=5)
    shop.add(*more)
    await sandbox.until(
        lambda ledger: ledger.summary().requests >= len(events) + 2 * PLACES, PATIENCE
    )
    second.machine.lose_power()
    sandbox.answer_for = None
    assert crew.shares()[two.names[1]] == 32
    # It would be 15 s and two timeouts; how the first measures it is the same.
    shop.execute("UPDATE shipper_daemon SET ttl = 2 WHERE name = :who", who=two.names[1])
    await first.told("daemon.took_over")
    await until(lambda: crew.shares() == {two.names[0]: 64})
    await shop.settled(60)

    assert set(first.arrived()) == {*events, *more}
    summary = sandbox.ledger.summary()
    assert summary.flawless, summary
    assert summary.repeats <= 2 * PLACES, summary
    await first.run(PROGRAM, "verify")
    assert await first.main_pid() == pid
    await first.becomes(ActiveState="active", NRestarts="0")
